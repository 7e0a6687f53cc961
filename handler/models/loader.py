"""Background loading: one attempt at a time, a timeout for callers, exponential backoff after a failure."""

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future
from threading import Lock, Thread
from typing import Generic, TypeVar

from handler.errors import ServiceError, UnavailableError

Result = TypeVar("Result")

MAX_BACKOFF_SECONDS = 60.0

logger = logging.getLogger("handler")


class BackgroundLoader(Generic[Result]):
    """Loads a result in a thread of its own, so that a caller waits no longer than its timeout.

    `report` is called once for every failed attempt. An attempt always ends, in a result or in a failure.
    """

    def __init__(self, load: Callable[[], Result], report: Callable[[ServiceError], None]) -> None:
        self._load = load
        self._report = report
        self._lock = Lock()
        self._attempt: Future[Result] | None = None
        self._failures = 0
        self._retry_at = 0.0

    @classmethod
    def completed(cls, result: Result) -> "BackgroundLoader[Result]":
        """Return a loader whose result is already available."""
        loader = cls(lambda: result, lambda _: None)
        loader._attempt = Future()
        loader._attempt.set_result(result)
        return loader

    @property
    def result(self) -> Result | None:
        """The result, or None while there is none."""
        attempt = self._attempt
        return attempt.result() if attempt and attempt.done() and not attempt.exception() else None

    def invalidate(self) -> None:
        """Drop the result; the next `get` loads it again."""
        with self._lock:
            self._attempt = None
            self._failures = 0

    def start(self) -> "Future[Result]":
        """Start an attempt, unless one is running, or has succeeded, or has failed and its backoff is not over."""
        with self._lock:
            attempt = self._attempt
            if attempt is None or (attempt.done() and attempt.exception() and time.monotonic() >= self._retry_at):
                attempt = self._attempt = Future()
                try:
                    Thread(target=self._run, args=(attempt,), daemon=True).start()
                except Exception as error:  # noqa: BLE001 - the process may start no more threads
                    self._fail(attempt, error)
            return attempt

    def get(self, timeout: float) -> Result:
        """Return the result, after at most `timeout` seconds.

        Raises:
            UnavailableError: the attempt failed, or is still running after the timeout; says when to retry.
        """
        attempt = self.start()
        try:
            failure = attempt.exception(timeout)
        except TimeoutError:
            raise UnavailableError(f"still loading after {timeout:g} seconds", retry_after=1) from None
        if failure:  # a new error each time: a shared one would keep the frames of every request, and its texts
            raise UnavailableError(str(failure), retry_after=max(1.0, self._retry_at - time.monotonic()))
        return attempt.result()

    def _run(self, attempt: "Future[Result]") -> None:
        try:
            result = self._load()
        except BaseException as error:  # noqa: BLE001 - a panic in Rust is no Exception; `get` raises its message
            self._fail(attempt, error)
        else:
            self._failures = 0
            attempt.set_result(result)

    def _fail(self, attempt: "Future[Result]", error: BaseException) -> None:
        failure = error if isinstance(error, ServiceError) else ServiceError(f"{type(error).__name__}: {error}")
        try:
            if isinstance(failure, UnavailableError):  # what it waits for has reported it, and says when to retry
                self._retry_at = time.monotonic() + failure.retry_after
            else:
                self._failures += 1
                self._retry_at = time.monotonic() + min(MAX_BACKOFF_SECONDS, 2.0 ** min(self._failures, 10))
                self._report(failure)
        except Exception:
            logger.exception("the failure could not be reported: %s", failure)
        finally:  # without the error itself, whose frames hold the files that were read
            attempt.set_exception(ServiceError(failure.message))
