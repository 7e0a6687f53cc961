"""The service's OpenAPI document: paths from the routes, schemas from contract/schemas.py, statuses from errors.py."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from handler.api.auth import PUBLIC_PATHS, UNKNOWN_KEY
from handler.api.limits import MAX_BODY_BYTES, MAX_HEADERS_BYTES
from handler.contract.objects import EmbeddingResponse, ErrorResponse, Health, Model, ModelList
from handler.contract.schemas import EmbeddingRequest
from handler.errors import (
    STATUS,
    UNAVAILABLE,
    UNEXPECTED,
    AuthenticationError,
    BodyEncodingError,
    BodyTooLargeError,
    ErrorBody,
    HeadersTooLargeError,
    ModelNotFoundError,
    RequestError,
    describe,
    describe_http,
)

REFERENCE = "#/components/schemas/{model}"
SUCCESS: dict[tuple[str, str], type[BaseModel]] = {
    ("/v1/embeddings", "post"): EmbeddingResponse,
    ("/v1/models", "get"): ModelList,
    ("/v1/models/{model}", "get"): Model,
    ("/health", "get"): Health,
}
SCHEMAS: tuple[type[BaseModel], ...] = (EmbeddingRequest, ErrorResponse, *SUCCESS.values())
RETRIED = {HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS}
RESPONSE_HEADERS = {"x-request-id": "The request's ID, to quote in a report."}
MODEL = {"name": "model", "in": "path", "required": True, "schema": {"type": "string", "title": "Model"}}
EMBEDDING_HEADERS = {
    "x-model-digest": "The SHA-256 of the model's manifest: do not mix vectors of two digests.",
    "server-timing": "Milliseconds by stage: tokenize, infer, encode; and how many tokens' vectors were cached.",
    "x-long-inputs": "How many inputs were too long, and how they were read (LONG_INPUT).",
}


def build(app: FastAPI) -> dict[str, Any]:
    """Build the document from the application's routes; it describes API keys if the application requires them."""
    keys = app.state.settings.auth_mode == "api-key"
    routes, models = app.routes, SCHEMAS
    if stored := bool(app.state.settings.batches):
        from handler.api import openapi_stored  # not at the top: a cold start needs none of it

        app.state.stored.load()
        routes, models = [*routes, *app.state.stored.router.routes], (*models, *openapi_stored.SCHEMAS)
    document = get_openapi(
        title=app.title,
        version="1",
        description="OpenAI's embeddings API, served on CPU.",
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        routes=routes,
    )
    _, schemas = models_json_schema([(model, "validation") for model in models], ref_template=REFERENCE)
    document["components"] = {"schemas": schemas["$defs"]}
    paths: dict[str, Any] = document["paths"]
    for (path, method), model in SUCCESS.items():
        operation = paths[path][method]
        headers = RESPONSE_HEADERS | (EMBEDDING_HEADERS if model is EmbeddingResponse else {})
        operation["responses"] = {"200": _response("Success", model.__name__, headers)}
        operation["responses"] |= _errors(method, path, keys=keys and path not in PUBLIC_PATHS)
        if keys and path in PUBLIC_PATHS:
            operation["security"] = []
    paths["/v1/embeddings"]["post"]["requestBody"] = {
        "required": True,
        "content": {"application/json": {"schema": {"$ref": REFERENCE.format(model="EmbeddingRequest")}}},
    }
    paths["/v1/models/{model}"]["get"]["parameters"] = [MODEL]
    if stored:
        _describe_stored(paths, keys=keys)
    if keys:
        document["components"]["securitySchemes"] = {
            "key": {"type": "http", "scheme": "bearer"},
            "azure": {"type": "apiKey", "in": "header", "name": "api-key"},
        }
        document["security"] = [{"key": []}, {"azure": []}]
    return document


def _describe_stored(paths: dict[str, Any], *, keys: bool) -> None:
    """Describe the operations on files, uploads and batches."""
    from handler.api import openapi_stored

    for path, method in (*openapi_stored.SUCCESS, openapi_stored.CONTENT):
        operation, model = paths[path][method], openapi_stored.SUCCESS.get((path, method))
        body = openapi_stored.request_body((path, method))
        errors = _common_errors(keys=keys, body=body is not None) | openapi_stored.errors((path, method))
        success = {"200": _response("Success", model.__name__, RESPONSE_HEADERS)} if model else openapi_stored.DOWNLOAD
        operation["responses"] = {**success, **_error_responses(errors)}
        operation["parameters"] = openapi_stored.parameters((path, method))
        if body:
            operation["requestBody"] = body


def _errors(method: str, path: str, *, keys: bool) -> dict[str, Any]:
    """Describe every error response of an operation on models, each with an example."""
    errors = _common_errors(keys=keys, body=method == "post")
    if "{model}" in path or method == "post":
        errors[HTTPStatus.NOT_FOUND] = describe(ModelNotFoundError("gpt-4", ("all-MiniLM-L6-v2",)))
        errors[HTTPStatus.SERVICE_UNAVAILABLE] = UNAVAILABLE
    if method == "post":
        empty = RequestError("Invalid 'input.3': it is an empty string.", param="input.3", code="empty_input")
        errors[HTTPStatus.BAD_REQUEST] = describe(empty)
    errors[HTTPStatus.METHOD_NOT_ALLOWED] = describe_http(HTTPStatus.METHOD_NOT_ALLOWED, "DELETE", path)
    return _error_responses(errors)


def _common_errors(*, keys: bool, body: bool) -> dict[HTTPStatus, ErrorBody]:
    """Return an example of each error that all operations have, or those with a body."""
    errors = {
        HTTPStatus.INTERNAL_SERVER_ERROR: UNEXPECTED,
        STATUS[HeadersTooLargeError]: describe(HeadersTooLargeError(MAX_HEADERS_BYTES)),
    }
    if keys:
        errors[HTTPStatus.UNAUTHORIZED] = describe(AuthenticationError(UNKNOWN_KEY))
    if body:
        errors[STATUS[BodyEncodingError]] = describe(BodyEncodingError())
        errors[STATUS[BodyTooLargeError]] = describe(BodyTooLargeError(MAX_BODY_BYTES))
    return errors


def _error_responses(errors: Mapping[HTTPStatus, ErrorBody]) -> dict[str, Any]:
    retry = {"retry-after": "Seconds after which to retry."}
    return {
        str(status.value): _response(
            status.phrase,
            "ErrorResponse",
            RESPONSE_HEADERS | (retry if status in RETRIED else {}),
            body.envelope(),
        )
        for status, body in sorted(errors.items())
    }


def _response(description: str, model: str, headers: dict[str, str], example: object = None) -> dict[str, Any]:
    content = {"schema": {"$ref": REFERENCE.format(model=model)}} | ({"example": example} if example else {})
    return {
        "description": description,
        "headers": {name: {"description": text, "schema": {"type": "string"}} for name, text in headers.items()},
        "content": {"application/json": content},
    }
