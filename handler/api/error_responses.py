"""Errors to HTTP responses."""

from collections.abc import Mapping

from starlette.responses import Response
from starlette.types import Scope

from handler.errors import STATUS, ErrorBody, ErrorFormat, RequestError, describe


def request_error_response(
    scope: Scope, error: RequestError, error_format: ErrorFormat, headers: Mapping[str, str] | None = None
) -> Response:
    """Return the response to a request that cannot be served as it is."""
    return error_response(scope, STATUS[type(error)], describe(error), error_format, headers)


def error_response(
    scope: Scope, status: int, body: ErrorBody, error_format: ErrorFormat, headers: Mapping[str, str] | None = None
) -> Response:
    """Return an error's response, and note its code and message in the request's record."""
    record = scope["record"]
    record.error, record.message = body.code or "invalid_request", body.message
    return Response(body.encode(error_format), status, headers, media_type="application/json")
