"""Lambda events to the ASGI app and back: API Gateway's, function URLs', and an error response to any other event."""

import time
from collections.abc import Mapping
from typing import Any

from mangum import Mangum
from mangum.types import ASGI, LambdaContext
from starlette.types import Scope

from handler.errors import STATUS, RequestError, describe
from handler.telemetry import RequestRecord, Telemetry


class LambdaHandler:
    """Responds to every event. An unsupported event gets a 400; a crash would set off an alarm.

    Unsupported are, for example, the pings that keep a function warm, test events of the console, and events whose
    headers Mangum reads as numbers and cannot parse.
    """

    def __init__(self, app: ASGI, telemetry: Telemetry | None = None) -> None:
        self._adapter = Mangum(app, lifespan="off")  # the app has no lifespan, and Mangum would run one for every event
        self._telemetry = telemetry

    def __call__(self, event: Any, context: LambdaContext) -> dict[str, Any]:  # noqa: ANN401 - any JSON value
        """Return the response in the form that the event's source expects."""
        started = time.perf_counter()
        try:
            _check_method(self._adapter.infer(event, context).scope["method"])
            return self._adapter(event, context)
        except Exception:  # noqa: BLE001 - Mangum does not validate events; the app's own errors never get here
            error = RequestError(
                "Unsupported event: expected one of API Gateway or of a function URL.", code="invalid_event"
            )
            status, request_id = STATUS[type(error)], context.aws_request_id
            if self._telemetry:
                record = RequestRecord(request_id, error=error.code)
                self._telemetry.log_request(record, status, time.perf_counter() - started)
            return {
                "statusCode": int(status),
                "headers": {"content-type": "application/json", "x-request-id": request_id},
                "body": describe(error).encode("openai").decode(),
                "isBase64Encoded": False,
            }


def _check_method(method: object) -> None:
    """Check the HTTP method, the one field of an event that Mangum passes on without looking at it.

    Raises:
        TypeError: it is not a string.
    """
    if not isinstance(method, str):
        raise TypeError


def gateway_context(scope: Scope) -> Mapping[str, Any]:
    """Return the event's requestContext; empty without an event, and for events that only resemble a gateway's."""
    event = scope.get("aws.event")
    context = event.get("requestContext") if isinstance(event, dict) else None
    return context if isinstance(context, dict) else {}
