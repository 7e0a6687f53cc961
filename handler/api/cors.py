"""Cross-origin requests of web pages, and the preflight requests of their browsers."""

from starlette.datastructures import Headers
from starlette.middleware import cors
from starlette.types import ASGIApp, Receive, Scope, Send

from handler.api.error_responses import request_error_response
from handler.errors import ErrorFormat, RequestError

EXPOSED_HEADERS = ("retry-after", "server-timing", "x-long-inputs", "x-model-digest", "x-request-id", "x-should-retry")


class CORSMiddleware(cors.CORSMiddleware):
    """Starlette's middleware, with refused preflights in the error envelope."""

    def __init__(self, app: ASGIApp, origins: tuple[str, ...], error_format: ErrorFormat) -> None:
        super().__init__(
            app,
            allow_origins=origins,
            allow_methods=("GET", "POST", "DELETE"),
            allow_headers=("*",),  # any that a browser asks for: authorization and the x-stainless-* family
            expose_headers=EXPOSED_HEADERS,
        )
        self.error_format = error_format

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond to a preflight, or run the application."""
        if not self._refuses(scope):
            await super().__call__(scope, receive, send)
            return
        error = RequestError("Web pages of this origin may not send such requests here.", code="origin_not_allowed")
        response = request_error_response(scope, error, self.error_format, {"vary": "Origin"})
        await response(scope, receive, send)

    def _refuses(self, scope: Scope) -> bool:
        if scope["type"] != "http" or scope["method"] != "OPTIONS":
            return False
        headers = Headers(scope=scope)
        origin, method = headers.get("origin"), headers.get("access-control-request-method")
        if origin is None or method is None:
            return False  # not a preflight
        to_private_network = "access-control-request-private-network" in headers
        return to_private_network or not self.is_allowed_origin(origin) or method not in self.allow_methods
