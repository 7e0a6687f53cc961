"""The HTTP surface."""

import asyncio
import re
import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from fastapi import APIRouter, Request, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from handler.artifacts.resolver import Sealed
from handler.contract.responses import EncodingFormat, check_fits, encode_response
from handler.contract.schemas import EmbeddingRequest, Model, ModelList
from handler.embedding.deadline import Deadline
from handler.embedding.embedder import Embedder, Embeddings
from handler.models.catalog import Catalog
from handler.telemetry import Record, gateway_context, server_timing

router = APIRouter()
Result = TypeVar("Result")


@router.post("/v1/embeddings")
async def create_embeddings(request: Request) -> Response:
    """Create an embedding vector for a text, or for each of up to 2048."""
    body = EmbeddingRequest.parse(await request.body())
    encoding_format = body.encoding_format or "float"
    deadline = Deadline.of(request.scope.get("aws.context"), gateway_context(request.scope))
    embedder, embeddings = await _aside(request, partial(_embed, _catalog(request), body, encoding_format, deadline))
    started = time.perf_counter()
    content = encode_response(
        embeddings.vectors, model=embedder.manifest.id, tokens=embeddings.tokens, encoding_format=encoding_format
    )
    timings = {**embedder.loading, **embeddings.timings, "encode": time.perf_counter() - started}
    embedder.loading = {}
    headers = {"x-model-digest": f"sha256:{embedder.digest}", "server-timing": server_timing(timings)}
    if embeddings.long_inputs:
        headers["x-long-inputs"] = f"{request.app.state.settings.long_input}; count={embeddings.long_inputs}"
    record: Record = request.scope["record"]
    record.model, record.inputs, record.tokens = embedder.manifest.id, len(body.input), embeddings.tokens
    record.long_inputs, record.timings = embeddings.long_inputs, timings
    return Response(content, media_type="application/json", headers=headers)


def _embed(
    catalog: Catalog, body: EmbeddingRequest, encoding_format: EncodingFormat, deadline: Deadline
) -> tuple[Embedder, Embeddings]:
    """Embed a request's inputs, if the answer can be sent, loading the model if it must be."""
    embedder = catalog.get(body.model)
    check_fits(len(body.input), embedder.check_dimensions(body.dimensions), encoding_format)
    return embedder, embedder.embed(body.input, body.dimensions, body.prompt_kind, deadline)


@router.get("/v1/models")
async def list_models(request: Request) -> Response:
    """List every name that a request's `model` may carry, of the models whose manifest could be read."""
    opened = await _aside(request, _catalog(request).opened)
    return _json(ModelList(data=[_describe(name, sealed) for name, sealed in opened.items()]))


# `:path` because ids may hold a slash, as in sentence-transformers/all-MiniLM-L6-v2
@router.get("/v1/models/{model:path}")  # noqa: FAST003 - for a function's first argument, FastAPI imports pydantic.v1
async def get_model(request: Request) -> Response:
    """Describe one model, by id or alias."""
    model: str = request.path_params["model"]
    return _json(_describe(model, await _aside(request, partial(_catalog(request).open, model))))


@router.get("/health")
async def health() -> Response:
    """Answer while the service can."""
    return Response(b'{"status":"ok"}', media_type="application/json")


class CanonicalPath:
    """ASGI middleware: whatever base URL a client was given, the route is the one under /v1, without a redirect.

    `/embeddings`, `/v1/v1/embeddings`, `/v1/embeddings/`, and `/<stage>/v1/embeddings` behind API Gateway's stages.
    """

    ROUTE = re.compile(r"/*(?:v1/+)*((?:embeddings|models)(?:/.+)?)")

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Rewrite the path of an HTTP request."""
        if scope["type"] == "http":
            path, stage = scope["path"], _stage(scope)
            if path.startswith(f"{stage}/"):
                path = path.removeprefix(stage)
            route = self.ROUTE.fullmatch(path.rstrip("/"))
            scope = {**scope, "path": f"/v1/{route[1]}" if route else path}
        await self.app(scope, receive, send)


def _stage(scope: Scope) -> str:
    """Return API Gateway's stage as it stands before the path; `$default` does not."""
    stage = gateway_context(scope).get("stage", "$default")
    return f"/{stage}" if stage != "$default" else ""


async def _aside(request: Request, work: Callable[[], Result]) -> Result:
    """Do what takes long beside the event loop; but not on Lambda: one event at a time, and a thread costs 0.6 ms."""
    return work() if "aws.event" in request.scope else await asyncio.to_thread(work)


def _catalog(request: Request) -> Catalog:
    catalog: Catalog = request.app.state.catalog
    return catalog


def _describe(name: str, sealed: Sealed) -> Model:
    manifest = sealed.manifest
    return Model(
        id=name,
        root=manifest.id,
        created=sealed.created,
        digest=f"sha256:{sealed.digest}",
        dimensions=manifest.dimensions,
        max_tokens=manifest.max_tokens,
    )


def _json(body: Model | ModelList) -> Response:
    return Response(body.model_dump_json(), media_type="application/json")
