"""How large a request and its response may be, and how long a request may take.

The limits on a body's fields are in contract/schemas.py.
"""

import math
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from handler.api.compression import accepts_gzip
from handler.api.error_responses import request_error_response
from handler.artifacts.manifest import OutputDtype
from handler.contract.responses import EncodingFormat
from handler.contract.schemas import MAX_INPUTS
from handler.embedding.deadline import Deadline
from handler.errors import BodyTooLargeError, ErrorFormat, HeadersTooLargeError, RequestError
from handler.lambda_events import gateway_context

# Lambda accepts events of 6 MB, and API Gateway may encode a body in base64, which makes it a third larger.
MAX_BODY_BYTES = 4 << 20
# API Gateway accepts 10,240 bytes of request line and headers, and adds its own.
MAX_HEADERS_BYTES = 16 << 10
# For a synchronous invocation, including headers and the escapes of the body's quotes
# (docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html: 6 MB; the runtime refuses above 6,291,556 bytes).
MAX_RESPONSE_BYTES = 6_291_556
ENVELOPE_BYTES = 4_096  # status, headers, and what surrounds the rows in the body, such as the model's name
ROW_BYTES = 64  # of a row without its components, escapes included
ROW_QUOTES = 10  # at most in a row; each needs an escape
# The bytes of a component, and of its text with a comma, on average of random vectors of 384 dimensions.
COMPONENT_BYTES: dict[OutputDtype, tuple[float, float]] = {
    "float": (4, 12.3),
    "float16": (2, 8.4),
    "int8": (1, 3.4),
    "uint8": (1, 3.9),
    "binary": (1 / 8, 3.7 / 8),
    "ubinary": (1 / 8, 3.7 / 8),
}
# Of a byte of floats as text, once it is compressed to 0.441 (benchmarks/README.md) and Lambda has made it base64. The
# other types are compressed to 0.37 to 0.43.
GZIP_BYTES = 0.441 * 4 / 3
# API Gateway ends an invocation after 30 seconds (REST APIs: 29); a function URL waits as long as the function runs.
GATEWAY_SECONDS = 29.0
RESPONSE_MARGIN_SECONDS = 1.0  # to encode the response and return it


class RequestSizeLimitMiddleware:
    """ASGI middleware: responds 431 to headers that are too large, and 413 to a body once the application reads it."""

    def __init__(self, app: ASGIApp, error_format: ErrorFormat) -> None:
        self.app = app
        self.error_format = error_format

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application with a body that ends at the limit."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if _headers_bytes(scope) > MAX_HEADERS_BYTES:
            response = request_error_response(scope, HeadersTooLargeError(MAX_HEADERS_BYTES), self.error_format)
            await response(scope, receive, send)
            return
        scope["receive"] = receive  # for routes with limits of their own
        content_length, received = _content_length(scope), 0

        async def receive_limited() -> Message:
            nonlocal received
            if content_length > MAX_BODY_BYTES:
                raise BodyTooLargeError(MAX_BODY_BYTES)
            message = await receive()
            received += len(message.get("body", b""))
            if received > MAX_BODY_BYTES:
                raise BodyTooLargeError(MAX_BODY_BYTES)
            return message

        await self.app(scope, receive_limited, send)


def _headers_bytes(scope: Scope) -> int:
    """Count the bytes of path, query and headers, without separators."""
    headers = sum(len(name) + len(value) for name, value in scope["headers"])
    return len(scope["path"].encode(errors="replace")) + len(scope["query_string"]) + headers


def _content_length(scope: Scope) -> int:
    """Return the Content-Length header, or 0 if it is absent or invalid: the received bytes are counted as well."""
    length: bytes = dict(scope["headers"]).get(b"content-length", b"")
    return int(length) if length.isdigit() and len(length) <= len(str(1 << 64)) else 0


class Output(NamedTuple):  # each request makes one, and a frozen dataclass takes a microsecond more
    """The vectors that a request asks for."""

    inputs: int
    dimensions: int
    encoding_format: EncodingFormat
    output_dtype: OutputDtype = "float"


def check_response_size(scope: Scope, output: Output) -> None:
    """Refuse, before any work is done, a request whose response is estimated to be larger than Lambda can return.

    Raises:
        RequestError: the response would be too large; the message says about how many vectors fit.
    """
    fitting = _max_vectors(output, output.encoding_format)
    if output.inputs > fitting and output.encoding_format == "float" and accepts_gzip(scope):
        fitting = _max_vectors(output, output.encoding_format, GZIP_BYTES)
    if output.inputs > fitting:
        raise _response_too_large(output, f"about {fitting}")


def check_encoded_size(body: bytes, output: Output, *, compressed: bool = False) -> None:
    """Refuse a response that is larger than Lambda can return: floats may have more digits than estimated.

    Raises:
        RequestError: the response is too large; the message says how many fit, even of the longest of these vectors, or
            about how many if the body is compressed.
    """
    size, room = len(body) + ROW_QUOTES * output.inputs, MAX_RESPONSE_BYTES - ENVELOPE_BYTES
    if compressed:
        size = -(-len(body) // 3) * 4  # Lambda makes it base64
    if size <= room:
        return
    if compressed:
        fitting = f"about {output.inputs * room // size}"
    else:
        rows = body[body.find(b"[") + 1 : body.rfind(b"]")].split(b"},{")
        fitting = f"{room // (max(map(len, rows)) + len('},{') + ROW_QUOTES)}"
    raise _response_too_large(output, fitting)


def _response_too_large(output: Output, fitting: str) -> RequestError:
    dtype = "" if output.output_dtype == "float" else f" of {output.output_dtype}"
    return RequestError(
        f"{output.inputs} vectors of {output.dimensions} dimensions{dtype} as {output.encoding_format} are too many "
        f"for a response of {MAX_RESPONSE_BYTES:,} bytes: {fitting} fit, or {_max_vectors(output, 'base64')} with "
        "encoding_format 'base64'; send fewer inputs in a request, or ask for fewer dimensions.",
        param="input",
        code="response_too_large",
    )


def _max_vectors(output: Output, encoding_format: EncodingFormat, compressed: float = 1.0) -> int:
    component, text = COMPONENT_BYTES[output.output_dtype]
    if encoding_format == "base64":
        vector_bytes = -(-component * output.dimensions // 3) * 4.0
    else:
        # Every further leading zero of a float is a byte, and components shrink with the square root of their number.
        zeros = max(0, math.log10(output.dimensions / 384) / 2) if output.output_dtype in {"float", "float16"} else 0
        vector_bytes = output.dimensions * (text + zeros)
    return min(MAX_INPUTS, int((MAX_RESPONSE_BYTES - ENVELOPE_BYTES) / (ROW_BYTES + vector_bytes) / compressed))


def request_deadline(scope: Scope) -> Deadline:
    """Return a request's deadline: the end of its invocation, or API Gateway's timeout if that comes first.

    The gateway counts from when it received the request, and a cold start may have passed since then.
    """
    now, invocation, gateway = time.monotonic(), scope.get("aws.context"), gateway_context(scope)
    if invocation is None:
        return Deadline(now)
    arrived, ends = now - _age(gateway), now + invocation.get_remaining_time_in_millis() / 1000
    if ".lambda-url." not in str(gateway.get("domainName")):
        ends = min(ends, arrived + GATEWAY_SECONDS)
    return Deadline(arrived, ends - RESPONSE_MARGIN_SECONDS)


def _age(gateway: Mapping[str, Any]) -> float:
    """Return the seconds since the gateway received the request; 0 if its timestamp is implausible."""
    epoch = gateway.get("timeEpoch", gateway.get("requestTimeEpoch"))  # in milliseconds
    age = time.time() - epoch / 1000 if type(epoch) is int and 0 < epoch < 1 << 53 else 0.0
    return age if 0 < age < GATEWAY_SECONDS else 0.0
