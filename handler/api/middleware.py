"""The outermost middleware: the request's ID and log line, HEAD, and a response to any unexpected error."""

import re
import time
import uuid
from asyncio import CancelledError

from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from handler.api.error_responses import error_response
from handler.errors import UNEXPECTED, CancelledRequestError, ErrorFormat
from handler.lambda_events import gateway_context
from handler.telemetry import RequestLog, RequestRecord, log_unexpected

REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")  # it becomes a header
# How Python ends a process, a coroutine or a generator. Any other BaseException is an error, such as a panic in Rust.
CONTROL_FLOW = (KeyboardInterrupt, SystemExit, CancelledError, GeneratorExit)


class RequestLogMiddleware:
    """ASGI middleware: gives every response an x-request-id, inner layers a RequestRecord, and logs the request."""

    def __init__(self, app: ASGIApp, log: RequestLog | None) -> None:
        self.app = app
        self.log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application with a record, and log the record when it has responded."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, status = time.perf_counter(), 0
        record = RequestRecord(_request_id(scope), scope["method"], scope["path"])

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["x-request-id"] = record.request_id
            await send(message)

        await self.app({**scope, "record": record}, receive, send_with_id)
        if self.log:
            self.log.log_request(record, status, time.perf_counter() - started)


class HeadMiddleware:
    """ASGI middleware: responds to HEAD as to GET, without the body (RFC 9110, section 9.3.2)."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application with GET in place of HEAD."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self.app(scope, receive, send)
            return

        async def send_without_body(message: Message) -> None:
            await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

        await self.app({**scope, "method": "GET"}, receive, send_without_body)


class ServerErrorMiddleware:
    """ASGI middleware: responds 500 in the error envelope when the application raises an unexpected error."""

    def __init__(self, app: ASGIApp, error_format: ErrorFormat) -> None:
        self.app = app
        self.error_format = error_format

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application; respond 500 if it raises before its response has started."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        response_started = False

        async def send_and_note(message: Message) -> None:
            nonlocal response_started
            response_started = True
            await send(message)

        try:
            await self.app(scope, receive, send_and_note)
        except (ClientDisconnect, CancelledRequestError):
            return  # there is no client left to respond to
        except CONTROL_FLOW:
            raise
        except BaseException as error:
            if response_started:
                raise
            log_unexpected(scope["record"].request_id, error)
            # The same request would fail again: OpenAI's clients retry a 500 unless told not to.
            response = error_response(scope, 500, UNEXPECTED, self.error_format, {"x-should-retry": "false"})
            await response(scope, receive, send)


def _request_id(scope: Scope) -> str:
    """Return the gateway's own ID, so that a response leads to its log lines, or a new one where there is none."""
    gateway_id, context = gateway_context(scope).get("requestId"), scope.get("aws.context")
    if isinstance(gateway_id, str) and REQUEST_ID.fullmatch(gateway_id):
        return gateway_id
    return context.aws_request_id if context else str(uuid.uuid4())
