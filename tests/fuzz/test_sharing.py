"""Concurrent requests of random texts, some of which are cancelled, late or broken: each gets its own result."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from threading import Barrier

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from handler.embedding.deadline import Deadline
from handler.embedding.embedder import Embedder
from handler.embedding.pooling import HiddenStates, Vectors
from handler.errors import CancelledRequestError, UnavailableError
from tests import tiny
from tests.fuzz import fuzz

WORKERS, THREADS = 2, 24
POISON = tiny.WORDS.index("z")
SEQUENCES = st.lists(st.integers(4, POISON - 1), min_size=1, max_size=tiny.MAX_TOKENS)


@dataclass(frozen=True, slots=True)
class Call:
    """A request.

    cancel_after  the number of times that it is asked whether its client has disconnected, before it has
    """

    inputs: list[list[int]]
    is_poisoned: bool
    is_late: bool
    cancel_after: int | None

    def deadline(self) -> Deadline:
        asked = 0

        def is_cancelled() -> bool:
            nonlocal asked
            asked += 1
            return self.cancel_after is not None and asked > self.cancel_after

        now = time.monotonic()
        return Deadline(now, now + (-1 if self.is_late else 600), is_cancelled)


CALLS = st.builds(
    Call,
    st.lists(SEQUENCES, min_size=1, max_size=40),
    st.sampled_from([False] * 9 + [True]),
    st.sampled_from([False] * 9 + [True]),
    st.one_of(st.none(), st.none(), st.integers(0, 60)),
)


class PoisonError(Exception):
    """Raised by a run that contains the poison."""


@cache
def embedder() -> Embedder:
    built = tiny.embedder(WORKERS)
    run = built._runs._session.run

    def run_unless_poisoned(token_ids: NDArray[np.int64]) -> HiddenStates:
        if POISON in token_ids:
            raise PoisonError
        return run(token_ids)

    built._runs._session.run = run_unless_poisoned  # type: ignore[method-assign]
    return built


@cache
def alone(token_ids: tuple[int, ...]) -> Vectors:
    """Return the vector of a sequence that is embedded alone."""
    vector: Vectors = tiny_alone().embed([list(token_ids)]).vectors[0]
    return vector


@cache
def tiny_alone() -> Embedder:
    return tiny.embedder(1)


def check(call: Call, start: Barrier) -> None:
    """Make a request at the same time as others; compare its vectors with those of its sequences alone."""
    inputs = [*call.inputs, [POISON]] if call.is_poisoned else call.inputs
    deadline = call.deadline()
    start.wait(30)
    try:
        vectors = embedder().embed(inputs, deadline=deadline).vectors
    except CancelledRequestError:
        assert call.cancel_after is not None
    except UnavailableError:
        assert call.is_late
    except PoisonError:
        assert call.is_poisoned
    else:
        assert not call.is_poisoned
        assert not call.is_late
        np.testing.assert_array_equal(vectors, [alone(tuple(token_ids)) for token_ids in inputs])


@fuzz(calls=st.lists(CALLS, min_size=2, max_size=THREADS))
def test_concurrent_requests_get_their_own_results(calls: list[Call]) -> None:
    start = Barrier(len(calls))
    with ThreadPoolExecutor(len(calls)) as threads:
        for future in [threads.submit(check, call, start) for call in calls]:
            future.result(60)
    runs = embedder()._runs
    deadline = time.monotonic() + 30
    while runs._free < WORKERS:
        assert time.monotonic() < deadline, "a worker is lost"
        time.sleep(0.001)
    assert (runs._choosing, len(runs._queue.requests), runs._queue._tokens) == (0, 0, 0)
