"""A clock that a test sets."""

import time
from collections.abc import Callable
from types import SimpleNamespace

import pytest


def replace_clock(monkeypatch: pytest.MonkeyPatch, now: Callable[[], float], *modules: str) -> None:
    """Have only these modules read `time.monotonic` from a function.

    Replaced for the whole process, it would be asyncio's clock as well: a server in a thread could set a timer by one
    clock and wait for it by the other, for hours.
    """
    for module in modules:
        monkeypatch.setattr(f"{module}.time", SimpleNamespace(**{**vars(time), "monotonic": now}))
