"""The FastAPI application: routes, middleware and error handlers, declared in one place."""

from collections.abc import Mapping
from http import HTTPStatus

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException

from handler.catalog import Catalog
from handler.errors import STATUS, ErrorBody, RequestError, describe, describe_http
from handler.observability import RequestContext
from handler.routes import router


def create_app(catalog: Catalog) -> FastAPI:
    """Build the application that serves a catalog of models."""
    app = FastAPI(title="serverless-embeddings", docs_url=None, redoc_url=None, redirect_slashes=False)
    app.state.catalog = catalog
    app.include_router(router)
    app.add_middleware(RequestContext)
    app.exception_handler(RequestError)(_refuse)
    app.exception_handler(HTTPException)(_refuse_http)
    return app


async def _refuse(_: Request, error: RequestError) -> Response:
    return _answer(STATUS[type(error)], describe(error))


async def _refuse_http(request: Request, error: HTTPException) -> Response:
    body = describe_http(error.status_code, request.method, request.url.path)
    return _answer(error.status_code, body, error.headers)


def _answer(status: int, body: ErrorBody, headers: Mapping[str, str] | None = None) -> Response:
    return Response(body.envelope(), HTTPStatus(status), media_type="application/json", headers=headers)
