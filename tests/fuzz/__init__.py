"""Whatever is sent: properties that hold for every input, tried on generated ones.

`make test` tries a hundred or so of each, always the same; `make fuzz` tries thousands of new ones. The profiles are in
tests/conftest.py.
"""

import os
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from typing import Any
from unittest import SkipTest

from hypothesis import given
from hypothesis import strategies as st

TRIED: Counter[str] = Counter()
SECONDS = float(os.environ.get("FUZZ_SECONDS", "inf"))  # for each property

# What breaks software that takes texts for ASCII.
PIECES = st.sampled_from(
    [
        *("\0", "\x1b[31m", "\x7f", "\x85", "\u2028", "\ufeff", "\ufffd", "\uffff", "\u200b", "\u00ad", "\r\n", "\t"),
        *("\u202e", "\u2066abc\u2069", "\u200f", "e\u0301", "\u0301" * 40, "\ufdfa", "\u1e9e", "\u0130", "\ufb03"),
        *("\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f1e6\U0001f1f9", "\U0001f44d\U0001f3fd", "\u2764\ufe0f"),
        *(chr((plane << 16) + offset) for plane in range(17) for offset in (0x20, 0x1234, 0xFFFD)),
        *("<script>", "'; --", "{{7*7}}", "${x}", "%00", "%s%n", "../", "\\u0000", "[CLS]", "[SEP]", "[PAD]", "##s"),
    ]
)
TEXTS = st.lists(st.one_of(PIECES, st.text(max_size=30)), min_size=1, max_size=8).map("".join).filter(bool)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=10), inner, max_size=5),
    max_leaves=20,
)


class TimeIsOver(SkipTest):
    """Enough was tried."""

    def __init__(self) -> None:
        super().__init__("enough was tried")


def fuzz(**strategies: st.SearchStrategy[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Try a property on generated arguments; count them, and stop trying when the time is over."""

    def decorate(holds: Callable[..., None]) -> Callable[..., None]:
        name = holds.__name__
        begun: list[float] = []

        @wraps(holds)
        def one(*fixtures: object, **arguments: object) -> None:
            begun[:] = begun or [time.monotonic()]
            if time.monotonic() - begun[0] > SECONDS:
                raise TimeIsOver
            TRIED[name] += 1
            if TRIED[name] % 1_000 == 0:
                sys.stderr.write(f"  {name}: {TRIED[name]:,} in {time.monotonic() - begun[0]:.0f} s\n")
            holds(*fixtures, **arguments)

        trying = given(**strategies)(one)

        @wraps(trying)
        def try_all(*fixtures: object, **arguments: object) -> None:
            with suppress(TimeIsOver):
                trying(*fixtures, **arguments)

        return try_all

    return decorate
