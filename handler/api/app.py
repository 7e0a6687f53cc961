"""The FastAPI application: routes, middleware and error handlers, declared in one place."""

import math
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from handler.api.auth import AuthenticationMiddleware
from handler.api.deferred import PATHS as STORED_PATHS
from handler.api.deferred import DeferredRoutes
from handler.api.error_responses import error_response, request_error_response
from handler.api.limits import RequestSizeLimitMiddleware
from handler.api.middleware import HeadMiddleware, RequestLogMiddleware, ServerErrorMiddleware
from handler.api.paths import PathNormalizationMiddleware
from handler.api.routes import router
from handler.errors import (
    STORAGE_UNAVAILABLE,
    UNAVAILABLE,
    BodyEncodingError,
    BulkError,
    ConflictError,
    RateLimitError,
    RequestError,
    UnavailableError,
    describe_http,
)
from handler.models.catalog import Catalog
from handler.settings import Settings
from handler.telemetry import RequestLog, log_failure

if TYPE_CHECKING:
    from handler.batches.runner import Runner

STORAGE_RETRY_SECONDS = "5"


class EmbeddingsApi(FastAPI):
    """The application; its OpenAPI document is built when first requested."""

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document."""
        from handler.api import openapi  # not at the top: a cold start needs no schemas of responses

        self.openapi_schema = self.openapi_schema or openapi.build(self)
        return self.openapi_schema


def create_app(
    settings: Settings,
    catalog: Catalog,
    log: RequestLog | None = None,
    *,
    runner: "Runner | None" = None,
    loopback: bool = False,
) -> FastAPI:
    """Build the application that serves a catalog of models.

    Without a log, requests are not logged; without a runner, batches remain as they are created; `loopback` is for a
    server that only this machine may use.
    """
    app = EmbeddingsApi(title="serverless-embeddings", docs_url=None, redoc_url=None, redirect_slashes=False)
    app.state.settings = settings
    app.state.catalog = catalog
    app.include_router(router)
    app.state.stored = DeferredRoutes(settings.batches, runner)
    for path in STORED_PATHS:
        app.add_route(path, app.state.stored, include_in_schema=False)
        app.add_route(f"{path}/{{rest:path}}", app.state.stored, include_in_schema=False)
    if settings.page:
        app.add_route("/", _page, include_in_schema=False)
    app.exception_handler(RequestError)(_request_error)
    app.exception_handler(HTTPException)(_http_exception)
    app.exception_handler(UnavailableError)(_service_unavailable)
    app.exception_handler(BulkError)(_storage_unavailable)
    app.add_middleware(AuthenticationMiddleware, settings=settings)  # innermost first
    app.add_middleware(PathNormalizationMiddleware, base_path=settings.base_path)
    app.add_middleware(RequestSizeLimitMiddleware, error_format=settings.error_format)
    if loopback:
        from handler.api.loopback import LoopbackMiddleware  # not at the top: Lambda never needs it

        app.add_middleware(LoopbackMiddleware, origins=settings.cors_origins, error_format=settings.error_format)
    app.add_middleware(ServerErrorMiddleware, error_format=settings.error_format)
    if settings.cors_origins:
        from handler.api.cors import CORSMiddleware  # not at the top: most deployments allow no other origin

        app.add_middleware(CORSMiddleware, origins=settings.cors_origins, error_format=settings.error_format)
    app.add_middleware(HeadMiddleware)
    app.add_middleware(RequestLogMiddleware, log=log)
    return app


def unavailable(log: RequestLog | None) -> RequestLogMiddleware:
    """Build the application for a service whose settings are invalid: it responds 503 to every request."""

    async def respond(scope: Scope, receive: Receive, send: Send) -> None:
        response = error_response(scope, 503, UNAVAILABLE, "openai", {"retry-after": "30"})
        await response(scope, receive, send)

    return RequestLogMiddleware(respond, log)


async def _page(request: Request) -> Response:
    from handler.api import page  # not at the top: a cold start is for the API, and the page can wait

    return await page.respond(request)


async def _request_error(request: Request, error: RequestError) -> Response:
    match error:
        case BodyEncodingError():  # RFC 9110, section 12.5.3: this header says which encodings the body may have
            headers = {"accept-encoding": "gzip"}
        case ConflictError():  # OpenAI's clients retry a 409 unless told not to
            headers = {"x-should-retry": "false"}
        case RateLimitError():
            headers = {"retry-after": f"{error.retry_after}"}
        case _:
            headers = {}
    return request_error_response(request.scope, error, request.app.state.settings.error_format, headers)


async def _http_exception(request: Request, error: HTTPException) -> Response:
    # scope["path"], not request.url, whose construction depends on the Host header
    body = describe_http(error.status_code, request.method, request.scope["path"])
    return error_response(
        request.scope, error.status_code, body, request.app.state.settings.error_format, error.headers
    )


async def _service_unavailable(request: Request, error: UnavailableError) -> Response:
    headers = {"retry-after": f"{math.ceil(error.retry_after)}"}
    return error_response(request.scope, 503, UNAVAILABLE, request.app.state.settings.error_format, headers)


async def _storage_unavailable(request: Request, error: BulkError) -> Response:
    log_failure(error)
    headers = {"retry-after": STORAGE_RETRY_SECONDS}
    return error_response(request.scope, 503, STORAGE_UNAVAILABLE, request.app.state.settings.error_format, headers)
