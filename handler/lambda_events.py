"""Lambda's entry: the events of API Gateway and function URLs, and an answer to whatever else is sent to a function."""

import time
from typing import Any

from mangum import Mangum
from mangum.types import ASGI, LambdaContext

from handler.errors import STATUS, RequestError, describe
from handler.telemetry import Record, Telemetry


class LambdaHandler:
    """Answers every event: what no gateway sends is a 400, not a crash that would set off an alarm.

    Such are the pings of those who keep functions warm, tests from the console, and headers that Mangum reads as
    numbers and that are none.
    """

    def __init__(self, app: ASGI, telemetry: Telemetry | None = None) -> None:
        self._adapter = Mangum(app, lifespan="off")  # the application has none, and Mangum would run one every event
        self._telemetry = telemetry

    def __call__(self, event: Any, context: LambdaContext) -> dict[str, Any]:  # noqa: ANN401 - whatever JSON it is
        """Return the answer in the form that the gateway takes."""
        started = time.perf_counter()
        try:
            _check_method(self._adapter.infer(event, context).scope["method"])
            return self._adapter(event, context)
        except Exception:  # noqa: BLE001 - Mangum reads events as they come, and answers itself for the application
            error = RequestError("The event is none of API Gateway's or a function URL's.", code="invalid_event")
            status, request_id = STATUS[type(error)], context.aws_request_id
            if self._telemetry:
                self._telemetry.answered(Record(request_id, error=error.code), status, time.perf_counter() - started)
            return {
                "statusCode": int(status),
                "headers": {"content-type": "application/json", "x-request-id": request_id},
                "body": describe(error).encode("openai").decode(),
                "isBase64Encoded": False,
            }


def _check_method(method: object) -> None:
    """See that Mangum has found a method, the one thing that it takes as it comes and never looks at.

    Raises:
        TypeError: it is something else.
    """
    if not isinstance(method, str):
        raise TypeError
