import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from handler.embedding.deadline import NO_DEADLINE, Deadline
from handler.embedding.inference import InferenceSession
from handler.embedding.pooling import POOLING, HiddenStates, Vectors
from handler.embedding.runs import PARALLEL_TOKENS, Runs
from handler.embedding.sharing import ranges
from handler.errors import CancelledRequestError, UnavailableError

HIDDEN = 4
POISON, NAN = 10_001, 10_002  # token IDs


class Session(InferenceSession):
    """A session whose hidden states are the token IDs; runs wait while it is held."""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []
        self.may_run = threading.Event()
        self.may_run.set()
        self.held = threading.Semaphore(0)

    def run(self, token_ids: NDArray[np.int64]) -> HiddenStates:
        """Return float32 (tokens, texts, HIDDEN)."""
        self.shapes.append(token_ids.T.shape)
        if not self.may_run.is_set():
            self.held.release()
            assert self.may_run.wait(30)
        if POISON in token_ids:
            raise RuntimeError
        states = np.where(token_ids == NAN, np.nan, token_ids).astype(np.float32)
        return np.repeat(states[:, :, None], HIDDEN, axis=2)


class Service:
    """Runs on a session, and requests to it on threads."""

    def __init__(self, workers: int = 1) -> None:
        self.session, self.parallel, self.workers = Session(), Session(), workers
        self.runs = Runs(self.session, POOLING["mean"], HIDDEN, workers, lambda: self.parallel)
        self.threads = ThreadPoolExecutor(32)

    def pool(self, *sequences: list[int], deadline: Deadline = NO_DEADLINE) -> Vectors:
        return self.runs.pool(list(sequences), len(sequences), deadline)

    def start(self, *windows: list[int], deadline: Deadline = NO_DEADLINE) -> "Future[Vectors]":
        """Have a thread pool; return when its request waits in the queue, or is held in a run."""
        before = self.asleep()
        future = self.threads.submit(self.pool, *windows, deadline=deadline)
        wait_until(lambda: self.asleep() > before)
        return future

    def asleep(self) -> int:
        return sum(request.wake is not None for request in list(self.runs._queue.requests))

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Hold every worker in a run of another request until the block ends."""
        self.session.may_run.clear()
        futures = [self.threads.submit(self.pool, [index]) for index in range(self.workers)]
        for _ in futures:
            assert self.session.held.acquire(timeout=30)
        self.session.shapes.clear()
        try:
            yield
        finally:
            self.session.may_run.set()
            for future in futures:
                future.result(30)

    def assert_idle(self) -> None:
        """Check that no worker is lost and nothing waits."""
        wait_until(lambda: self.runs._free == self.workers)
        assert (self.runs._choosing, len(self.runs._queue.requests), self.runs._queue._tokens) == (0, 0, 0)


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


def expected(*windows: list[int]) -> Any:
    return np.repeat(np.array([np.mean(window) for window in windows], np.float32)[:, None], HIDDEN, axis=1)


def test_requests_that_wait_share_runs_and_get_their_own_vectors():
    service = Service()
    with service.busy():
        first = service.start([1, 2, 3], [5])
        second = service.start([4, 5, 6])
        third = service.start([7, 8], [7, 8, 9])
    np.testing.assert_array_equal(first.result(30), expected([1, 2, 3], [5]))
    np.testing.assert_array_equal(second.result(30), expected([4, 5, 6]))
    np.testing.assert_array_equal(third.result(30), expected([7, 8], [7, 8, 9]))
    assert service.session.shapes == [(3, 3), (1, 2), (1, 1)]
    service.assert_idle()


def test_request_of_many_texts_does_not_block_another():
    service = Service()
    with service.busy():
        many = service.start(*([index, 1, 2, 3] for index in range(1000)))
        few = service.start([1, 2])
    few.result(30)
    assert service.session.shapes[:2] == [(64, 4), (1, 2)]
    np.testing.assert_array_equal(many.result(30), expected(*([index, 1, 2, 3] for index in range(1000))))
    service.assert_idle()


def test_process_that_may_start_no_more_threads_loses_no_worker(monkeypatch):
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    service = Service(2)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    np.testing.assert_array_equal(service.pool([1, 2], [3]), expected([1, 2], [3]))
    service.assert_idle()
    with pytest.raises(RuntimeError, match="new thread"):  # while the model is loaded, which is tried again
        Service(2)


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_request_alone_uses_every_worker(workers):
    service = Service(workers)
    service.session.may_run.clear()
    many = service.threads.submit(service.pool, *([index] for index in range(1000)))
    for _ in range(workers):
        assert service.session.held.acquire(timeout=30)
    service.session.may_run.set()
    np.testing.assert_array_equal(many.result(30), expected(*([index] for index in range(1000))))
    service.assert_idle()


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_sequence_alone_uses_every_worker_in_one_run(workers):
    service, long = Service(workers), list(range(PARALLEL_TOKENS.start))
    np.testing.assert_array_equal(service.pool(long), expected(long))
    assert (service.parallel.shapes, service.session.shapes) == ([(1, PARALLEL_TOKENS.start)], [])
    service.assert_idle()


def test_sequences_that_are_short_or_not_alone_use_a_worker_each():
    service, long = Service(2), list(range(PARALLEL_TOKENS.start))
    service.pool(long[1:])
    service.pool([1] * PARALLEL_TOKENS.stop)
    service.pool(long, long[::-1])
    with service.busy():
        busy = service.start(long)
    np.testing.assert_array_equal(busy.result(30), expected(long))
    assert service.parallel.shapes == []
    service.assert_idle()


def test_requests_that_wait_for_a_sequence_alone_are_read_after_it():
    service, long = Service(2), list(range(PARALLEL_TOKENS.start))
    service.parallel.may_run.clear()
    alone = service.threads.submit(service.pool, long)
    assert service.parallel.held.acquire(timeout=30)
    waiting = [service.start([1, 2, index]) for index in range(3)]
    assert service.session.shapes == []
    service.parallel.may_run.set()
    for index, future in enumerate(waiting):
        np.testing.assert_array_equal(future.result(30), expected([1, 2, index]))
    np.testing.assert_array_equal(alone.result(30), expected(long))
    service.assert_idle()


def test_sequence_alone_that_fails_or_is_too_late_loses_no_worker():
    service, long = Service(2), list(range(PARALLEL_TOKENS.start))
    with pytest.raises(RuntimeError):
        service.pool([POISON, *long])
    with pytest.raises(UnavailableError):
        service.pool(long, deadline=Deadline(0, time.monotonic() - 1))
    assert service.parallel.shapes == [(1, PARALLEL_TOKENS.start + 1)]
    service.assert_idle()


def test_client_that_disconnects_while_it_waits_costs_no_run_and_others_nothing():
    service, gone = Service(), threading.Event()
    with service.busy():
        cancelled = service.start([1, 2, 3], deadline=Deadline(0, is_cancelled=gone.is_set))
        other = service.start([1, 2])
        gone.set()
    with pytest.raises(CancelledRequestError):
        cancelled.result(30)
    np.testing.assert_array_equal(other.result(30), expected([1, 2]))
    assert service.session.shapes == [(1, 2)]
    service.assert_idle()


def test_client_that_disconnects_during_a_run_costs_others_nothing():
    service, gone = Service(), threading.Event()
    with service.busy():
        other = service.start([1, 2])
        cancelled = service.start([3, 4], [3], deadline=Deadline(0, is_cancelled=gone.is_set))
        run = service.session.run

        def disconnect(token_ids: NDArray[np.int64]) -> HiddenStates:
            gone.set()
            return run(token_ids)

        service.session.run = disconnect  # type: ignore[method-assign]
    with pytest.raises(CancelledRequestError):
        cancelled.result(30)
    np.testing.assert_array_equal(other.result(30), expected([1, 2]))
    assert service.session.shapes == [(2, 2)]
    service.assert_idle()


def test_deadline_that_passes_while_a_request_waits_is_its_own():
    service = Service()
    with service.busy():
        late = service.start([1, 2, 3], deadline=Deadline(0, time.monotonic() - 1))
        other = service.start([4, 5, 6])
    with pytest.raises(UnavailableError):
        late.result(30)
    np.testing.assert_array_equal(other.result(30), expected([4, 5, 6]))
    assert service.session.shapes == [(1, 3)]
    service.assert_idle()


def test_sequence_that_breaks_a_shared_run_fails_only_its_request():
    service = Service()
    with service.busy():
        before, broken, after = (service.start(window) for window in ([1, 2], [3, POISON], [5, 6]))
        longer = service.start([1, 2, 3, 4], [8, 9])
    with pytest.raises(RuntimeError):
        broken.result(30)
    np.testing.assert_array_equal(before.result(30), expected([1, 2]))
    np.testing.assert_array_equal(after.result(30), expected([5, 6]))
    np.testing.assert_array_equal(longer.result(30), expected([1, 2, 3, 4], [8, 9]))
    assert service.session.shapes == [(4, 2), (1, 2), (1, 2), (1, 2), (1, 2), (1, 4)]  # together, and then each alone
    service.assert_idle()


def test_request_whose_last_sequences_are_being_taken_does_not_seem_done(monkeypatch):
    service, taken = Service(), threading.Event()

    class Waiting(dict[int, range]):
        """Stops the thread that takes a run where another one may go on."""

        def __delitem__(self, length: int) -> None:
            super().__delitem__(length)
            taken.set()
            time.sleep(0.05)

    with service.busy():
        wait = service.runs._wait
        monkeypatch.setattr(service.runs, "_wait", lambda request: (taken.wait(30), wait(request)))
        monkeypatch.setattr("handler.embedding.runs.ranges", lambda lengths: Waiting(ranges(lengths)))
        request = service.threads.submit(service.pool, [1, 2, 3])
        wait_until(lambda: len(service.runs._queue.requests) == 1)
    np.testing.assert_array_equal(request.result(30), expected([1, 2, 3]))
    service.assert_idle()


def test_nan_of_a_sequence_is_only_in_its_own_vector():
    service = Service()
    with service.busy():
        broken, other = service.start([3, NAN]), service.start([5, 6])
    assert np.isnan(broken.result(30)).all()
    np.testing.assert_array_equal(other.result(30), expected([5, 6]))


@contextmanager
def interrupt_after(seconds: float) -> Iterator[None]:
    """Raise KeyboardInterrupt in this thread after a time."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_interrupted_thread_that_waits_leaves_its_request_and_no_worker_is_lost():
    service = Service()
    with service.busy():
        with pytest.raises(KeyboardInterrupt), interrupt_after(0.05):
            service.pool([1, 2, 3])
        other = service.start([4, 5, 6])
    np.testing.assert_array_equal(other.result(30), expected([4, 5, 6]))
    assert service.session.shapes == [(1, 3)]
    service.assert_idle()


def test_interrupted_thread_that_runs_passes_its_worker_on():
    service = Service()
    service.session.may_run.clear()
    with pytest.raises(KeyboardInterrupt), interrupt_after(0.05):
        service.pool([1, 2, 3], [1])
    service.session.may_run.set()
    np.testing.assert_array_equal(service.pool([4]), expected([4]))
    service.assert_idle()
