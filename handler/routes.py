"""The HTTP surface."""

import time

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool

from handler.catalog import Catalog
from handler.embedder import Embedder
from handler.encoding import encode_response
from handler.observability import server_timing
from handler.schemas import EmbeddingRequest, Model, ModelList

router = APIRouter()


@router.post("/v1/embeddings")
async def create_embeddings(request: Request) -> Response:
    """Embed a text, or up to 2048 of them."""
    body = EmbeddingRequest.parse(await request.body())
    embedder = _catalog(request).get(body.model)
    embeddings = await run_in_threadpool(embedder.embed, body.input, body.dimensions)
    started = time.perf_counter()
    content = encode_response(
        embeddings.vectors,
        model=embedder.manifest.id,
        tokens=embeddings.tokens,
        encoding_format=body.encoding_format or "float",
    )
    timings = {**embeddings.timings, "encode": time.perf_counter() - started}
    headers = {"x-model-digest": f"sha256:{embedder.digest}", "server-timing": server_timing(timings)}
    return Response(content, media_type="application/json", headers=headers)


@router.get("/v1/models")
async def list_models(request: Request) -> ModelList:
    """List every name that a request's `model` may carry."""
    return ModelList(data=[_describe(name, embedder) for name, embedder in _catalog(request).names.items()])


# `:path` because ids may hold a slash, as in sentence-transformers/all-MiniLM-L6-v2
@router.get("/v1/models/{name:path}")
async def get_model(request: Request, name: str) -> Model:
    """Describe one model, by id or alias."""
    return _describe(name, _catalog(request).get(name))


@router.get("/health")
async def health() -> dict[str, str]:
    """Answer while the service can."""
    return {"status": "ok"}


def _catalog(request: Request) -> Catalog:
    catalog: Catalog = request.app.state.catalog
    return catalog


def _describe(name: str, embedder: Embedder) -> Model:
    manifest = embedder.manifest
    return Model(
        id=name,
        root=manifest.id,
        created=embedder.loaded,
        digest=f"sha256:{embedder.digest}",
        dimensions=manifest.dimensions,
        max_tokens=manifest.max_tokens,
    )
