"""A request's deadline, and whether it can be met: judged by the pace of the request's own work."""

import math
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from handler.errors import CancelledRequestError, RequestError, UnavailableError

# A pace is trusted after so many seconds and runs, and is the median of the latest: a single delay, such as a
# garbage collection or a busy neighbour, does not fail a request.
MIN_SECONDS, MIN_BATCHES = 0.5, 9
# Long sequences come first, and a token of 256 costs more than one of 8: the pace rises by up to a fifth.
PACE_MARGIN = 0.8


class Deadline(NamedTuple):  # a dataclass takes half a millisecond more of a cold start
    """When a request arrived and when its work must have ended, on the clock of time.monotonic.

    `is_cancelled` returns whether the client has disconnected; by default, it returns False.
    """

    arrived: float
    ends: float = math.inf
    is_cancelled: Callable[[], bool] = bool

    @property
    def remaining(self) -> float:
        """The seconds that are left; 0 after the deadline."""
        return max(0.0, self.ends - time.monotonic())

    def within(self, seconds: float) -> "Deadline":
        """Return this deadline, or the end of that many seconds from now if it is earlier."""
        return Deadline(self.arrived, min(self.ends, time.monotonic() + seconds), self.is_cancelled)

    def check(self) -> None:
        """Check that there is time left to begin.

        Raises:
            UnavailableError: there is none.
            CancelledRequestError: the client has disconnected.
        """
        if self.is_cancelled():
            raise CancelledRequestError
        if time.monotonic() > self.ends:
            raise _too_late()


NO_DEADLINE = Deadline(0)


class Progress:
    """The progress of one request's inference; every run that reads some of it reports that."""

    def __init__(self, deadline: Deadline, inputs: int, tokens: int, workers: int) -> None:
        self._deadline = deadline
        self._inputs = inputs
        self._tokens = tokens
        self._workers = workers
        self._started = time.monotonic()
        self._done = 0
        self._batches = 0
        self._paces: deque[float] = deque(maxlen=MIN_BATCHES)  # seconds per token of a worker

    def update(self, tokens: int, seconds: float) -> None:
        """Record a part of a run: its number of tokens, and its share of the seconds that the run took.

        Raises:
            RequestError: the rest cannot be done in time, and could not be in a new request either.
            UnavailableError: it could be in a new request; loading the model, or a delay, took the time of this one.
            CancelledRequestError: the client has disconnected.
        """
        if self._deadline.is_cancelled():
            raise CancelledRequestError
        self._done += tokens
        self._batches += 1
        self._paces.append(seconds / tokens)
        if self._done >= self._tokens or self._in_time():
            return
        available = max(0.0, self._deadline.ends - self._deadline.arrived)
        needed = self._seconds_for(self._tokens)
        if needed <= PACE_MARGIN * available:
            raise _too_late()
        fitting = int(PACE_MARGIN * self._inputs * available / needed)
        raise RequestError(
            f"{self._inputs} inputs of {self._tokens} tokens take longer than the {available:.0f} seconds of a "
            "request: " + (f"about {fitting} of their length fit; send fewer." if fitting else "shorten them."),
            param="input",
            code="request_too_long",
        )

    def _in_time(self) -> bool:
        now = time.monotonic()
        if now - self._started < MIN_SECONDS or self._batches < MIN_BATCHES:
            return now <= self._deadline.ends
        return now + PACE_MARGIN * self._seconds_for(self._tokens - self._done) <= self._deadline.ends

    def _seconds_for(self, tokens: int) -> float:
        median = sorted(self._paces)[len(self._paces) // 2]  # `statistics` would take 3 ms of a cold start to import
        return median * tokens / self._workers


def _too_late() -> UnavailableError:
    return UnavailableError("too little time was left for this request; a retry may succeed", retry_after=1)
