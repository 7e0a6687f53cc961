"""Property-based tests: properties that hold for every input, checked on generated inputs.

`make test` checks about a hundred inputs per property, always the same; `make fuzz` checks thousands of new ones. The
profiles are in tests/conftest.py.
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

EXAMPLES: Counter[str] = Counter()
TIME_BUDGET = float(os.environ.get("FUZZ_SECONDS", "inf"))  # seconds per property

# Characters and strings that often break text processing.
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


class TimeBudgetSpent(SkipTest):
    """The property's time budget is spent; Hypothesis raises a SkipTest at once, without reporting a failure."""

    def __init__(self) -> None:
        super().__init__("time budget spent")


def fuzz(**strategies: st.SearchStrategy[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Check a property on generated arguments; count them, and stop when the time budget is spent."""

    def decorate(property_: Callable[..., None]) -> Callable[..., None]:
        name = property_.__name__
        started: float | None = None

        @wraps(property_)
        def check_one(*fixtures: object, **arguments: object) -> None:
            nonlocal started
            started = started or time.monotonic()
            if time.monotonic() - started > TIME_BUDGET:
                raise TimeBudgetSpent
            EXAMPLES[name] += 1
            if EXAMPLES[name] % 1_000 == 0:
                sys.stderr.write(f"  {name}: {EXAMPLES[name]:,} in {time.monotonic() - started:.0f} s\n")
            property_(*fixtures, **arguments)

        check = given(**strategies)(check_one)

        @wraps(check)
        def check_all(*fixtures: object, **arguments: object) -> None:
            with suppress(TimeBudgetSpent):
                check(*fixtures, **arguments)

        return check_all

    return decorate
