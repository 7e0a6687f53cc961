"""A request's deadline, and whether it can be met: judged by the pace of the request's own work."""

import math
import time
from dataclasses import dataclass

from handler.errors import RequestError, UnavailableError

OBSERVED_SECONDS = 0.5  # of work, before its pace is trusted
# Long sequences come first, and a token of 256 costs more than one of 8: the pace rises by up to a fifth.
PACE_MARGIN = 0.8


@dataclass(frozen=True, slots=True)
class Deadline:
    """When a request arrived and when its work must have ended, on the clock of time.monotonic."""

    arrived: float
    ends: float = math.inf


NO_DEADLINE = Deadline(0)


class Progress:
    """The progress of one request's work; every worker reports to it."""

    def __init__(self, deadline: Deadline, inputs: int) -> None:
        self._deadline = deadline
        self._inputs = inputs
        self._done = 0
        self._started = time.monotonic()

    def update(self, tokens: int, total: int) -> None:
        """Add `tokens` to those that are done, of `total` in the request.

        Raises:
            RequestError: the rest cannot be done in time, and could not be in a new request either.
            UnavailableError: it could be in a new request, but loading the model took the time of this one.
        """
        self._done += tokens
        elapsed = time.monotonic() - self._started
        if self._done >= total or elapsed < OBSERVED_SECONDS:
            return
        needed = elapsed * total / self._done
        if self._started + max(PACE_MARGIN * needed, elapsed) <= self._deadline.ends:
            return
        available = self._deadline.ends - self._deadline.arrived
        if needed <= PACE_MARGIN * available:
            raise UnavailableError("loading the model left too little time for this request", retry_after=1)
        fitting = int(PACE_MARGIN * self._inputs * available / needed)
        raise RequestError(
            f"{self._inputs} inputs of {total} tokens take longer than the {available:.0f} seconds of a request: "
            + (f"about {fitting} of their length fit; send fewer." if fitting else "shorten them."),
            param="input",
            code="request_too_long",
        )
