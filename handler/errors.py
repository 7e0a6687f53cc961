"""The error tree, the HTTP status of each error, and the error envelope that clients read.

ServiceError                  base: a message for the person who can act on it
├── SettingsError             a setting is invalid: the service does not start
├── ArtifactError             a model's files are unavailable, or are not what its manifest says
├── UnavailableError          what a request needs is unavailable now; says when to retry
├── BulkError                 a bulk job cannot start or go on: what, where, and the remedy, in one line
│   └── StorageUnavailableError   its storage is unavailable now: the same step may work later
├── CancelledRequestError     the client has disconnected: the response is no longer needed
└── RequestError              the request cannot be served as it is; names the parameter
    ├── ModelNotFoundError    the request names a model that is not served
    ├── ModelMismatchError    the request demands a digest that the served model does not have
    ├── NotFoundError         the caller has no such file, upload or batch
    ├── ConflictError         the request contradicts an earlier one
    ├── RateLimitError        the caller has sent too many such requests; says when to retry
    ├── AuthenticationError   the caller may not use the service
    ├── BodyTooLargeError     its body is too large
    ├── FileTooLargeError     a file does not fit into one request here
    ├── BodyEncodingError     its body is compressed in another way than by gzip
    └── HeadersTooLargeError its request line and headers are too large
"""

import json
from http import HTTPStatus
from typing import Literal, NamedTuple

import orjson

ErrorFormat = Literal["openai", "plain"]


class ServiceError(Exception):
    """Base of every error this service raises on purpose."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class SettingsError(ServiceError):
    """A setting has an invalid value."""


class ArtifactError(ServiceError):
    """A model's files are missing, damaged, or not what was pinned."""


class UnavailableError(ServiceError):
    """What a request needs is unavailable now; `retry_after` is in seconds."""

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class BulkError(ServiceError):
    """A bulk job cannot start or go on; what it has written so far remains."""


class StorageUnavailableError(BulkError):
    """Storage is unavailable now, also after retries: the same step may work later."""


class CancelledRequestError(ServiceError):
    """The client has disconnected."""

    def __init__(self) -> None:
        super().__init__("the client has disconnected")


class RequestError(ServiceError):
    """The request cannot be served as it is.

    `param` names the field in OpenAI's dotted form (`input.3`); `code` is for programs.
    """

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.param = param
        self.code = code
        self.plain = message


class ModelNotFoundError(RequestError):
    """The request names a model that is not served here."""

    def __init__(self, model: str, served: tuple[str, ...]) -> None:
        super().__init__(
            f"model not found: '{model}' is not served here; served: {', '.join(served)}",
            param="model",
            code="model_not_found",
        )
        self.plain = "model not found"


class ModelMismatchError(RequestError):
    """The request demands another digest than that of the served model. OpenAI's clients retry a 409, but not a 404."""

    def __init__(self, model: str, digest: str) -> None:
        super().__init__(
            f"The model '{model}' is not served here: the digest of the served one is sha256:{digest}. Vectors of two "
            "digests cannot be compared: embed your texts again with the served model, or deploy the demanded one.",
            param="model",
            code="model_mismatch",
        )


class NotFoundError(RequestError):
    """The caller has no such file, upload or batch."""


class ConflictError(RequestError):
    """The request contradicts an earlier one, and would do so again."""


class RateLimitError(RequestError):
    """The caller has sent too many such requests; `retry_after` is in seconds."""

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message, code="rate_limit_exceeded")
        self.retry_after = retry_after


class AuthenticationError(RequestError):
    """The request carries no valid credentials."""

    def __init__(self, message: str) -> None:
        super().__init__(message, code="invalid_api_key")


class BodyTooLargeError(RequestError):
    """The body has more than `limit` bytes."""

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"The request's body has more than {limit:,} bytes; send several requests.", code="request_too_large"
        )


class FileTooLargeError(RequestError):
    """A file, or a part of one, has more than `limit` bytes, which are what Lambda accepts in one request."""

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"At most {limit:,} bytes of a file fit into one request: send it in parts, as "
            "client.uploads.upload_file_chunked(file=..., mime_type='application/jsonl', purpose='batch', "
            "part_size=4 << 20) does.",
            code="request_too_large",
        )


class BodyEncodingError(RequestError):
    """The body has a Content-Encoding that the service does not decode."""

    def __init__(self) -> None:
        super().__init__(
            "The request's Content-Encoding is not supported: compress the body once, with gzip, or not at all.",
            code="unsupported_encoding",
        )


class HeadersTooLargeError(RequestError):
    """The request line and the headers have more than `limit` bytes."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"The request's line and headers have more than {limit:,} bytes.", code="headers_too_large")


STATUS: dict[type[RequestError], HTTPStatus] = {
    RequestError: HTTPStatus.BAD_REQUEST,
    ModelNotFoundError: HTTPStatus.NOT_FOUND,
    ModelMismatchError: HTTPStatus.NOT_FOUND,
    NotFoundError: HTTPStatus.NOT_FOUND,
    ConflictError: HTTPStatus.CONFLICT,
    RateLimitError: HTTPStatus.TOO_MANY_REQUESTS,
    AuthenticationError: HTTPStatus.UNAUTHORIZED,
    BodyTooLargeError: HTTPStatus(413),  # whose name differs between Python 3.11 and 3.13
    FileTooLargeError: HTTPStatus(413),
    BodyEncodingError: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    HeadersTooLargeError: HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
}


class ErrorBody(NamedTuple):  # a dataclass takes half a millisecond more of a cold start
    """OpenAI's error object: the same four keys for every status; `plain` is the message for ERROR_FORMAT=plain."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None
    plain: str | None = None

    def envelope(self) -> dict[str, dict[str, str | None]]:
        """Return `{"error": {...}}` with the four keys."""
        return {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code}}

    def encode(self, error_format: ErrorFormat) -> bytes:
        """Return the JSON of the envelope, or of `{"error": "..."}`."""
        body = self.envelope() if error_format == "openai" else {"error": self.plain or self.message}
        try:
            return orjson.dumps(body)
        except orjson.JSONEncodeError:  # a lone surrogate, from an event's path: json escapes it
            return json.dumps(body).encode()


UNEXPECTED = ErrorBody("Unexpected internal server error occurred", type="server_error", code="internal_error")
# The cause goes to the log, for the operator: it may name buckets and folders.
UNAVAILABLE = ErrorBody("The model is unavailable now; the service's log says why.", "server_error", code="unavailable")
STORAGE_UNAVAILABLE = ErrorBody(
    "Files and batches are unavailable now; the service's log says why.", "server_error", code="unavailable"
)


def describe(error: RequestError) -> ErrorBody:
    """Return the body for a refused request."""
    return ErrorBody(error.message, type="invalid_request_error", param=error.param, code=error.code, plain=error.plain)


def describe_http(status: int, method: str, path: str) -> ErrorBody:
    """Return the body for an HTTP error that the framework raises, such as an unknown path."""
    code = HTTPStatus(status).phrase.lower().replace(" ", "_")
    match status:
        case HTTPStatus.NOT_FOUND:
            message = (
                f"Invalid URL ({method} {path}): a client's base URL should end in /v1, such as https://<host>/v1; "
                "GET /openapi.json lists the endpoints"
            )
        case HTTPStatus.METHOD_NOT_ALLOWED:
            message = f"Not allowed to {method} on {path}"
        case _:
            message = f"{HTTPStatus(status).phrase} ({method} {path})"
    return ErrorBody(message, type="invalid_request_error", code=code)
