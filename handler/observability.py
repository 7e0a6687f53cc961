"""What a request leaves behind: an id, its stage timings, its metrics, and never a bare crash."""

import logging
import uuid
from collections.abc import Mapping

from starlette.datastructures import MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from handler.errors import UNEXPECTED, ErrorFormat

NAMESPACE = "ServerlessEmbeddings"

logger = logging.getLogger("handler")


def server_timing(seconds: Mapping[str, float]) -> str:
    """Format stage timings as a Server-Timing header (www.w3.org/TR/server-timing), in milliseconds."""
    return ", ".join(f"{stage};dur={duration * 1000:.2f}" for stage, duration in seconds.items())


def count_long_inputs(count: int, policy: str) -> None:
    """Emit the metric LongInputs, by what was done with them, as a line of CloudWatch's embedded metric format."""
    from aws_lambda_powertools.metrics import MetricUnit, single_metric  # here, because most requests never need it

    with single_metric(name="LongInputs", unit=MetricUnit.Count, value=count, namespace=NAMESPACE) as metric:
        metric.add_dimension(name="policy", value=policy)


class RequestId:
    """ASGI middleware, the outermost: x-request-id on every response, and in the scope for those further in."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application with an id."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = _request_id(scope)

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["x-request-id"] = request_id
            await send(message)

        await self.app({**scope, "request_id": request_id}, receive, send_with_id)


class LastResort:
    """ASGI middleware: the error envelope for whatever nobody expected."""

    def __init__(self, app: ASGIApp, error_format: ErrorFormat) -> None:
        self.app = app
        self.unexpected = UNEXPECTED.encode(error_format)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application; answer 500 if it raises before it has answered."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        answered = False

        async def send_and_note(message: Message) -> None:
            nonlocal answered
            answered = True
            await send(message)

        try:
            await self.app(scope, receive, send_and_note)
        except Exception:
            logger.exception("request %s failed", scope["request_id"])
            if answered:
                raise
            # The same request would fail again: OpenAI's clients retry a 500 unless told not to.
            headers = {"x-should-retry": "false"}
            response = Response(self.unexpected, 500, headers, media_type="application/json")
            await response(scope, receive, send)


def _request_id(scope: Scope) -> str:
    """Return Lambda's own id, so that a response leads to its log lines, or a new one elsewhere."""
    context = scope.get("aws.context")
    return context.aws_request_id if context else str(uuid.uuid4())
