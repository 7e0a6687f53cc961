"""Iterators that threads run ahead."""

import time
from collections.abc import Iterator
from itertools import count
from threading import Event, active_count

import pytest

from handler.bulk.background import Background


def test_items_keep_their_order_through_several_threads():
    with Background() as background:
        doubled = background.run_ahead((2 * n for n in background.run_ahead(range(100), 3)), 3)
        assert list(doubled) == list(range(0, 200, 2))


def test_a_thread_runs_ahead_by_the_depth_and_no_further():
    taken = []

    def take() -> Iterator[int]:
        for n in count():
            taken.append(n)
            yield n

    with Background() as background:
        items = background.run_ahead(take(), 3)
        next(items)
        deadline = time.monotonic() + 5
        while len(taken) < 5 and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.3)
        assert len(taken) == 5  # one was given out, three wait, and one is to be put


def test_an_error_is_raised_at_its_place():
    with Background() as background:
        items = background.run_ahead((1 // (2 - n) for n in range(5)), 3)
        assert [next(items), next(items)] == [0, 1]
        with pytest.raises(ZeroDivisionError):
            next(items)


def test_end_stops_threads_that_wait_for_each_other():
    before = active_count()
    with Background() as background:
        next(background.run_ahead(background.run_ahead(count(), 1), 1))
    assert active_count() <= before  # threads of earlier tests may end meanwhile


def test_end_does_not_wait_for_a_thread_that_is_blocked():
    blocked = Event()
    started = time.monotonic()
    with Background() as background:
        background.run_ahead((blocked.wait() for _ in range(1)), 1)
    assert time.monotonic() - started < 2
    blocked.set()
