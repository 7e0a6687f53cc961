"""How large a request may be: what is larger is refused before it is read, let alone understood.

What is inside a body has its limits in schemas.py.
"""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from handler.errors import BodyTooLargeError, ErrorFormat, HeadTooLargeError
from handler.telemetry import refuse

# Lambda takes 6 MB of event, and the gateway may put a body in base64 there, which is a third larger.
MAX_BODY_BYTES = 4 << 20
# API Gateway takes 10,240 bytes of line and headers, and adds its own.
MAX_HEAD_BYTES = 16 << 10


class Bounded:
    """ASGI middleware: 431 for a head that is too large, 413 for a body, when somebody begins to read it."""

    def __init__(self, app: ASGIApp, error_format: ErrorFormat) -> None:
        self.app = app
        self.error_format = error_format

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application with a body that ends at the limit."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if _head_bytes(scope) > MAX_HEAD_BYTES:
            response = refuse(scope, HeadTooLargeError(MAX_HEAD_BYTES), self.error_format)
            await response(scope, receive, send)
            return
        announced, received = _announced(scope), 0

        async def receive_within_bounds() -> Message:
            nonlocal received
            if announced > MAX_BODY_BYTES:
                raise BodyTooLargeError(MAX_BODY_BYTES)
            message = await receive()
            received += len(message.get("body", b""))
            if received > MAX_BODY_BYTES:
                raise BodyTooLargeError(MAX_BODY_BYTES)
            return message

        await self.app(scope, receive_within_bounds, send)


def _head_bytes(scope: Scope) -> int:
    """Count the bytes of path, query and headers; what separates them is not counted."""
    headers = sum(len(name) + len(value) for name, value in scope["headers"])
    return len(scope["path"].encode(errors="replace")) + len(scope["query_string"]) + headers


def _announced(scope: Scope) -> int:
    """Return the body's length as its header has it; 0 where that says nothing, for then the bytes are counted."""
    length: bytes = dict(scope["headers"]).get(b"content-length", b"")
    return int(length) if length.isdigit() and len(length) <= len(str(1 << 64)) else 0
