"""Protection of the local server against requests of foreign web pages."""

import re

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from handler.api.error_responses import request_error_response
from handler.errors import ErrorFormat, RequestError

LOOPBACK_HOST = r"(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])(?::\d+)?"
LOOPBACK_ORIGIN = rf"https?://{LOOPBACK_HOST}"


class LoopbackMiddleware:
    """ASGI middleware: refuses requests of web pages, except those of this machine and of CORS_ORIGINS.

    A browser sends some requests without a preflight, such as a POST of text/plain, and a page can even read the
    response once its own host name resolves to this machine (DNS rebinding). Headers that no page can forge tell such
    requests apart: Host, Origin and Sec-Fetch-Site (www.w3.org/TR/fetch-metadata).
    """

    def __init__(self, app: ASGIApp, origins: tuple[str, ...], error_format: ErrorFormat) -> None:
        self.app = app
        self.origins = origins
        self.error_format = error_format

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application, unless a foreign web page sent the request."""
        if scope["type"] != "http" or self._allows(scope):
            await self.app(scope, receive, send)
            return
        error = RequestError(
            "Web pages of other origins may not send requests to this machine: to allow one, add it to CORS_ORIGINS.",
            code="origin_not_allowed",
        )
        response = request_error_response(scope, error, self.error_format)
        await response(scope, receive, send)

    def _allows(self, scope: Scope) -> bool:
        headers = Headers(scope=scope)
        host = headers.get("host", "").lower()
        origin = headers.get("origin", f"http://{host}")
        if origin in self.origins or "*" in self.origins:
            return True
        is_local = re.fullmatch(LOOPBACK_HOST, host) and re.fullmatch(LOOPBACK_ORIGIN, origin)
        return bool(is_local) and (headers.get("sec-fetch-site") != "cross-site" or _is_followed_link(scope, headers))


def _is_followed_link(scope: Scope, headers: Headers) -> bool:
    """Return whether a browser opens a link in a tab: the page that has the link can neither read nor frame it."""
    return scope["method"] in {"GET", "HEAD"} and headers.get("sec-fetch-dest") == "document"
