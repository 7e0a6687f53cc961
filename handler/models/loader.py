"""A result that takes time and may fail: one attempt at a time, with longer and longer pauses between them."""

import time
from collections.abc import Callable
from concurrent.futures import Future
from threading import Lock, Thread
from typing import Generic, TypeVar

from handler.errors import ServiceError, UnavailableError

Result = TypeVar("Result")

LONGEST_PAUSE = 60.0


class Attempts(Generic[Result]):
    """Makes a result in a thread of its own, so that whoever asks waits no longer than they like.

    `report` hears of every failed attempt once.
    """

    def __init__(self, make: Callable[[], Result], report: Callable[[ServiceError], None]) -> None:
        self._make = make
        self._report = report
        self._lock = Lock()
        self._attempt: Future[Result] | None = None
        self._failures = 0
        self._due = 0.0

    @classmethod
    def done_with(cls, result: Result) -> "Attempts[Result]":
        """Return what needs no attempt any more."""
        attempts = cls(lambda: result, lambda _: None)
        attempts._attempt = Future()
        attempts._attempt.set_result(result)
        return attempts

    @property
    def result(self) -> Result | None:
        """The result, if it is there."""
        attempt = self._attempt
        return attempt.result() if attempt and attempt.done() and not attempt.exception() else None

    def forget(self) -> None:
        """Give the result up; who asks next has it made again."""
        with self._lock:
            self._attempt = None

    def start(self) -> "Future[Result]":
        """Begin an attempt, unless one is under way or has succeeded, or has failed and the pause is not over."""
        with self._lock:
            attempt = self._attempt
            if attempt is None or (attempt.done() and attempt.exception() and time.monotonic() >= self._due):
                attempt = self._attempt = Future()
                Thread(target=self._try, args=(attempt,), daemon=True).start()
            return attempt

    def get(self, patience: float) -> Result:
        """Return the result, after at most `patience` seconds.

        Raises:
            UnavailableError: the attempt failed, or goes on for longer; says when to ask again.
        """
        try:
            return self.start().result(patience)
        except TimeoutError:
            raise UnavailableError(f"not ready after {patience:g} seconds, and under way", retry_after=1) from None
        except ServiceError as error:
            raise UnavailableError(error.message, retry_after=max(1.0, self._due - time.monotonic())) from error

    def _try(self, attempt: "Future[Result]") -> None:
        try:
            attempt.set_result(self._make())
        except Exception as error:  # noqa: BLE001 - it is raised where the result is asked for
            failure = error if isinstance(error, ServiceError) else ServiceError(f"{type(error).__name__}: {error}")
            self._failures += 1
            self._due = time.monotonic() + min(LONGEST_PAUSE, 2.0**self._failures)
            if not isinstance(failure, UnavailableError):  # that one has been reported by the attempt it comes from
                self._report(failure)
            attempt.set_exception(failure)
