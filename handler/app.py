"""The FastAPI application: routes, middleware and error handlers, declared in one place."""

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException

from handler import openapi
from handler.catalog import Catalog
from handler.errors import STATUS, ErrorBody, RequestError, describe, describe_http
from handler.observability import LastResort, RequestId
from handler.routes import CanonicalPath, router
from handler.settings import Settings


class EmbeddingsApi(FastAPI):
    """The application; its OpenAPI document is built when it is first asked for."""

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document."""
        self.openapi_schema = self.openapi_schema or openapi.build(self)
        return self.openapi_schema


def create_app(settings: Settings, catalog: Catalog) -> FastAPI:
    """Build the application that serves a catalog of models."""
    app = EmbeddingsApi(title="serverless-embeddings", docs_url=None, redoc_url=None, redirect_slashes=False)
    app.state.settings = settings
    app.state.catalog = catalog
    app.include_router(router)
    app.exception_handler(RequestError)(_refuse)
    app.exception_handler(HTTPException)(_refuse_http)
    app.add_middleware(CanonicalPath)  # innermost first
    app.add_middleware(LastResort, error_format=settings.error_format)
    if settings.cors_origins:
        _allow_origins(app, settings.cors_origins)
    app.add_middleware(RequestId)
    return app


def _allow_origins(app: FastAPI, origins: tuple[str, ...]) -> None:
    """Answer preflights, and name the origin on every response, errors included."""
    from starlette.middleware.cors import CORSMiddleware

    app.add_middleware(
        CORSMiddleware,
        allow_origins=origins,
        allow_methods=("GET", "POST"),
        allow_headers=("*",),  # whatever is asked for: authorization and the x-stainless-* family
        expose_headers=("server-timing", "x-long-inputs", "x-model-digest", "x-request-id"),
    )


async def _refuse(request: Request, error: RequestError) -> Response:
    return _answer(request, STATUS[type(error)], describe(error))


async def _refuse_http(request: Request, error: HTTPException) -> Response:
    body = describe_http(error.status_code, request.method, request.url.path)
    return _answer(request, error.status_code, body, error.headers)


def _answer(request: Request, status: int, body: ErrorBody, headers: Mapping[str, str] | None = None) -> Response:
    content = body.encode(request.app.state.settings.error_format)
    return Response(content, status, headers, media_type="application/json")
