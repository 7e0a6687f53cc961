"""Events of API Gateway and function URLs to the ASGI app and back; any other event gets an error response."""

import time
from collections.abc import Mapping
from typing import Any

from mangum import Mangum
from mangum.protocols import HTTPCycle
from mangum.types import ASGI, LambdaContext
from starlette.types import Scope

from handler.errors import STATUS, UNEXPECTED, ErrorBody, RequestError, describe
from handler.telemetry import RequestRecord, Telemetry, log_unexpected

UNSUPPORTED = describe(
    RequestError("Unsupported event: expected an event of API Gateway or of a function URL.", code="invalid_event")
)


class RaisingCycle(HTTPCycle):
    """Mangum's request and response; an error of the application is raised, not turned into a 500 in plain text."""

    async def run(self, app: ASGI) -> None:
        """Run the application."""
        await app(self.scope, self.receive, self.send)


class LambdaHandler:
    """Responds to every event: a crash would be a bare 502.

    An unsupported event gets a 400. Unsupported are, for example, the pings that keep a function warm, test events of
    the console, and events whose headers Mangum reads as numbers and cannot parse. A defect of the service itself that
    the application does not catch is a logged 500.
    """

    def __init__(self, app: ASGI, telemetry: Telemetry | None = None) -> None:
        self._adapter = Mangum(app, lifespan="off")  # the app has no lifespan, and Mangum would run one for every event
        self._telemetry = telemetry

    def __call__(self, event: Any, context: LambdaContext) -> dict[str, Any]:  # noqa: ANN401 - any JSON value
        """Return the response in the form that the event's source expects."""
        started = time.perf_counter()
        try:
            source = self._adapter.infer(event, context)
            cycle = RaisingCycle(source.scope, source.body)
            _check_method(cycle.scope["method"])
        except Exception:  # noqa: BLE001 - Mangum does not validate events
            return self._error(STATUS[RequestError], UNSUPPORTED, context, started)
        try:
            return source(cycle(self._adapter.app))  # as Mangum does, without inferring the source again
        except Exception as error:  # noqa: BLE001 - the application responds to its own errors: this is a defect
            log_unexpected(context.aws_request_id, error)
            return self._error(500, UNEXPECTED, context, started)

    def _error(self, status: int, body: ErrorBody, context: LambdaContext, started: float) -> dict[str, Any]:
        """Log an error outside the application, and return a response that every source of events accepts."""
        request_id = context.aws_request_id
        if self._telemetry:
            record = RequestRecord(request_id, error=body.code)
            self._telemetry.log_request(record, status, time.perf_counter() - started)
        return {
            "statusCode": int(status),
            "headers": {
                "content-type": "application/json",
                "x-request-id": request_id,
                "x-should-retry": "false",  # the same event would fail again
            },
            "body": body.encode("openai").decode(),
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
