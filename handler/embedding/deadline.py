"""When a request must have been answered, and whether it can be: judged by the pace of the work itself."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from handler.errors import RequestError, UnavailableError

if TYPE_CHECKING:
    from mangum.types import LambdaContext

GATEWAY_SECONDS = 29.0  # API Gateway ends a call after 30 (REST APIs: 29); a function URL waits as long as the function
ANSWER_SECONDS = 1.0  # to encode the response and hand it over
OBSERVED_SECONDS = 0.5  # of work, before its pace is believed
# Long sequences come first, and a token of 256 costs more than one of 8: the pace rises by up to a fifth.
RISING_PACE = 0.8


@dataclass(frozen=True, slots=True)
class Deadline:
    """From when to when a request may take, on the clock of time.monotonic."""

    arrived: float
    ends: float = math.inf

    @classmethod
    def of(cls, invocation: "LambdaContext | None", gateway: Mapping[str, Any]) -> "Deadline":
        """Return the deadline of a request: what is left of its invocation, and API Gateway's patience."""
        arrived = time.monotonic()
        if invocation is None:
            return cls(arrived)
        left = invocation.get_remaining_time_in_millis() / 1000
        if ".lambda-url." not in str(gateway.get("domainName")):
            left = min(left, GATEWAY_SECONDS)
        return cls(arrived, arrived + left - ANSWER_SECONDS)


NEVER = Deadline(0)


class Progress:
    """How far the work of one request has come; every worker reports to it."""

    def __init__(self, deadline: Deadline, inputs: int) -> None:
        self._deadline = deadline
        self._inputs = inputs
        self._done = 0
        self._started = time.monotonic()

    def advance(self, tokens: int, of: int) -> None:
        """Note that so many tokens more are done, of so many in all.

        Raises:
            RequestError: the rest cannot be done in time, nor could it in a request of its own.
            UnavailableError: it could, but loading the model took the time.
        """
        self._done += tokens
        elapsed = time.monotonic() - self._started
        if self._done >= of or elapsed < OBSERVED_SECONDS:
            return
        needed = elapsed * of / self._done
        if self._started + max(RISING_PACE * needed, elapsed) <= self._deadline.ends:
            return
        whole = self._deadline.ends - self._deadline.arrived
        if needed <= RISING_PACE * whole:
            raise UnavailableError("loading the model left too little time for this request", retry_after=1)
        fitting = int(RISING_PACE * self._inputs * whole / needed)
        raise RequestError(
            f"{self._inputs} inputs of {of} tokens take longer than the {whole:.0f} seconds of a request: "
            + (f"about {fitting} of their length fit; send fewer." if fitting else "shorten them."),
            param="input",
            code="request_too_long",
        )
