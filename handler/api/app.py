"""The FastAPI application: routes, middleware and error handlers, declared in one place."""

import math
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from handler.api import openapi
from handler.api.auth import Authenticate
from handler.api.limits import Bounded
from handler.api.routes import CanonicalPath, router
from handler.errors import UNAVAILABLE, ErrorBody, RequestError, UnavailableError, describe_http
from handler.models.catalog import Catalog
from handler.settings import Settings
from handler.telemetry import LastResort, Observe, Telemetry, refusal, refuse


class EmbeddingsApi(FastAPI):
    """The application; its OpenAPI document is built when it is first asked for."""

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document."""
        self.openapi_schema = self.openapi_schema or openapi.build(self)
        return self.openapi_schema


def create_app(settings: Settings, catalog: Catalog, telemetry: Telemetry | None = None) -> FastAPI:
    """Build the application that serves a catalog of models; without telemetry, requests leave no line."""
    app = EmbeddingsApi(title="serverless-embeddings", docs_url=None, redoc_url=None, redirect_slashes=False)
    app.state.settings = settings
    app.state.catalog = catalog
    app.include_router(router)
    app.exception_handler(RequestError)(_refuse)
    app.exception_handler(HTTPException)(_refuse_http)
    app.exception_handler(UnavailableError)(_put_off)
    app.add_middleware(Authenticate, settings=settings)  # innermost first
    app.add_middleware(CanonicalPath)
    app.add_middleware(Bounded, error_format=settings.error_format)
    app.add_middleware(LastResort, error_format=settings.error_format)
    if settings.cors_origins:
        from handler.api.cors import CrossOrigin  # here: most deployments have none

        app.add_middleware(CrossOrigin, origins=settings.cors_origins, error_format=settings.error_format)
    app.add_middleware(Observe, telemetry=telemetry)
    return app


def unavailable(telemetry: Telemetry | None) -> Observe:
    """Build what answers when the service could not start: 503 to everything."""

    async def put_off(scope: Scope, receive: Receive, send: Send) -> None:
        response = refusal(scope, 503, UNAVAILABLE, "openai", {"retry-after": "30"})
        await response(scope, receive, send)

    return Observe(put_off, telemetry)


async def _refuse(request: Request, error: RequestError) -> Response:
    return refuse(request.scope, error, request.app.state.settings.error_format)


async def _refuse_http(request: Request, error: HTTPException) -> Response:
    body = describe_http(error.status_code, request.method, request.scope["path"])  # not .url, which reads the host too
    return _answer(request, error.status_code, body, error.headers)


async def _put_off(request: Request, error: UnavailableError) -> Response:
    return _answer(request, 503, UNAVAILABLE, {"retry-after": f"{math.ceil(error.retry_after)}"})


def _answer(request: Request, status: int, body: ErrorBody, headers: Mapping[str, str] | None = None) -> Response:
    return refusal(request.scope, status, body, request.app.state.settings.error_format, headers)
