"""A clock that a test sets."""

import time
from collections.abc import Callable
from types import SimpleNamespace

import pytest


def replace_clock(monkeypatch: pytest.MonkeyPatch, now: Callable[[], float], *modules: str) -> None:
    """Have modules read `time.monotonic` from a function.

    The others keep theirs, above all asyncio: a server in a thread of this process that begins to wait while the clock
    is early waits until tomorrow.
    """
    for module in modules:
        monkeypatch.setattr(f"{module}.time", SimpleNamespace(**{**vars(time), "monotonic": now}))
