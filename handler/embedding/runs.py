"""The runs of a model: which thread does one when, for all requests at once."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Event, Lock

import numpy as np

from handler.embedding.deadline import Deadline, Progress
from handler.embedding.inference import ExternalSession, InferenceSession
from handler.embedding.pooling import HiddenStates, Vectors
from handler.embedding.sharing import Part, Queue, Request, ranges
from handler.errors import ServiceError

# Of a text that comes alone. Two threads save 0.3 ms of 16 tokens, for 1.4 times the processor time
# (benchmarks/README.md); a longer text would make the requests that come meanwhile wait.
PARALLEL_TOKENS = range(32, 513)


class Runs:
    """Runs the token sequences of all requests for a model on its workers.

    A worker is the right to one run at a time, and threads pass it on. The thread of a request that finds one free uses
    it at once: waking another thread for a single text would cost more than its vector. If all are busy, the request
    waits in the queue, and its thread sleeps until it is chosen as a worker or other threads have read its sequences.

    A sequence of PARALLEL_TOKENS that is its request's only one, and finds every worker free, uses all of them in one
    run.
    """

    def __init__(
        self,
        session: InferenceSession | ExternalSession,
        pool: Callable[[HiddenStates], Vectors],
        dimensions: int,
        workers: int,
        parallel: Callable[[], InferenceSession | None],
    ) -> None:
        """Run a session, whose hidden states `pool` makes vectors of so many dimensions, on so many workers.

        `parallel` returns a session of the same model whose runs use several threads, or None while there is none.

        Raises:
            RuntimeError: the process may start no more threads.
        """
        self._session = session
        self._parallel = parallel
        self._pool = pool
        self._dimensions = dimensions
        self._workers = workers
        self._executor = ThreadPoolExecutor(workers, thread_name_prefix="embed")
        self._lock = Lock()  # of the queue, the requests and the two numbers
        self._queue = Queue(session.batch_tokens)
        self._free = workers
        self._choosing = 0  # workers that are about to take a run
        # The threads start here: if one cannot, the load fails. Later, a worker would be lost.
        started = Event()
        try:
            for _ in range(workers):
                self._executor.submit(started.wait)
        finally:
            started.set()

    def pool(self, sequences: list[list[int]], inputs: int, deadline: Deadline) -> Vectors:
        """Infer and pool distinct token sequences, the longest first; return float32 (sequences, hidden).

        They are those of so many inputs of a request.

        Raises:
            RequestError, UnavailableError, CancelledRequestError: see `Progress.update` and `Deadline.check`.
            ValueError: the model's output is of another shape or type.
        """
        alone = len(sequences) == 1 and len(sequences[0]) in PARALLEL_TOKENS
        if alone and (session := self._parallel()) and self._claim_all():
            return self._infer_alone(sequences, session, deadline)
        pooled = np.empty((len(sequences), self._dimensions), np.float32)
        if sequences:
            lengths = list(map(len, sequences))
            tokens, workers = sum(lengths), min(self._workers, len(sequences))
            progress = Progress(deadline, inputs, tokens, workers)
            request = Request(sequences, pooled, ranges(lengths), deadline, progress)
            self._read(request, tokens, workers)
            if request.error:
                raise request.error
        return pooled

    def _claim_all(self) -> bool:
        """Claim every worker, if all are free."""
        with self._lock:
            if self._free < self._workers:
                return False
            self._free = 0
            return True

    def _infer_alone(self, sequences: list[list[int]], session: InferenceSession, deadline: Deadline) -> Vectors:
        """Infer one sequence with every worker, which were claimed; then pass them on."""
        try:
            deadline.check()
            return self._infer(sequences, session)
        finally:
            with self._lock:
                self._choosing += self._workers
                for _ in range(self._workers):
                    self._pass_on()

    def _read(self, request: Request, tokens: int, workers: int) -> None:
        """Return when a request of so many tokens is done; if workers are free, up to so many begin at once."""
        with self._lock:
            self._queue.add(request, tokens)
            workers = min(self._free, workers)
            self._free -= workers
            self._choosing += workers
        for _ in range(workers - 1):
            self._executor.submit(self._work)
        try:
            if workers:
                self._work(request)
            self._wait(request)
        except BaseException as error:  # such as Ctrl-C in this thread
            with self._lock:
                self._fail(request, error)
                if request.chosen:
                    self._pass_on()
            raise

    def _wait(self, request: Request) -> None:
        """Sleep until a request is done; work when its thread is chosen."""
        while True:
            with self._lock:  # without it, a request whose last run is being taken may seem done
                if request.is_done:
                    return
                wake = request.prepare_sleep()
            wake.acquire()
            if request.chosen:
                request.chosen = False
                self._work(request)

    def _work(self, own: Request | None = None) -> None:
        """Do runs until nothing of the thread's own request waits, or nothing at all; then pass the worker on."""
        try:
            while (not own or own.waiting) and (run := self._next()):
                self._execute(run)
        finally:
            with self._lock:
                self._pass_on()

    def _pass_on(self) -> None:
        """Choose the thread that goes on with a worker, if something waits."""
        if not self._queue.requests:
            self._choosing -= 1
            self._free += 1
        elif sleeper := self._queue.sleeper():
            sleeper.chosen = True
            sleeper.end_sleep()
        else:
            self._executor.submit(self._work)

    def _next(self) -> list[Part]:
        """Return the next run; an empty one if nothing waits."""
        with self._lock:
            while self._queue.requests:
                head = next(iter(self._queue.requests))
                try:
                    head.deadline.check()
                except ServiceError as error:
                    self._fail(head, error)
                else:
                    run = self._queue.take_run(head, self._choosing)
                    self._choosing -= 1
                    return run
            return []

    def _execute(self, run: list[Part]) -> None:
        """Fill the rows of a run; an error is one of the requests whose sequences cause it."""
        started = time.monotonic()
        try:
            self._fill(run)
        except BaseException as error:
            for part in run:
                part.error = error
            if not isinstance(error, Exception):  # such as Ctrl-C in this thread
                raise
            if len(run) > 1:
                self._fill_each(run)
        finally:
            pace = (time.monotonic() - started) / sum([part.tokens for part in run])
            with self._lock:
                self._choosing += 1
                for part in run:
                    self._finish(part, pace * part.tokens)

    def _finish(self, part: Part, seconds: float) -> None:
        request, error = part.request, part.error
        request.running -= 1
        try:
            request.progress.update(part.tokens, seconds)
        except ServiceError as late:
            error = error or late
        if error:
            self._fail(request, error)
        elif request.is_done:
            request.end_sleep()

    def _fail(self, request: Request, error: BaseException) -> None:
        """Have a request end with an error as soon as none of its sequences is being read."""
        request.error = request.error or error
        self._queue.remove(request)
        if request.is_done:
            request.end_sleep()

    def _fill_each(self, run: list[Part]) -> None:
        """After a run has failed, fill its rows one part at a time: an error remains with the part that causes it."""
        for part in run:
            try:
                self._fill([part])
                part.error = None
            except Exception as error:  # noqa: BLE001 - it is raised in the thread of the request
                part.error = error

    def _fill(self, run: list[Part]) -> None:
        """Fill the rows of the parts of a run, whose sequences have one length."""
        sequences: list[list[int]] = []
        for part in run:
            sequences += part.request.sequences[part.rows]
        pooled, start = self._infer(sequences, self._session), 0
        for part in run:
            end = start + part.rows.stop - part.rows.start
            part.request.pooled[part.rows] = pooled[start:end]
            start = end

    def _infer(self, sequences: list[list[int]], session: InferenceSession | ExternalSession) -> Vectors:
        """Return the pooled hidden states of sequences of one length.

        Raises:
            ValueError: the model's output is of another shape or type; NumPy would broadcast or convert it.
        """
        token_ids = np.array(sequences, np.int64)
        hidden_states = session.run(np.ascontiguousarray(token_ids.T))
        expected = (*token_ids.shape[::-1], self._dimensions)
        if hidden_states.shape != expected or hidden_states.dtype != np.float32:
            raise ValueError(f"its output is {hidden_states.dtype} {hidden_states.shape}, not float32 {expected}")
        return self._pool(hidden_states)
