"""The endpoints."""

import asyncio
import time
from collections.abc import Callable, Mapping
from functools import partial
from threading import Event
from typing import TypeVar

from fastapi import APIRouter, Request, Response
from starlette.types import Receive

from handler.api.compression import MIN_BYTES, accepts_gzip, compress, decode_body
from handler.api.limits import MAX_BODY_BYTES, Output, check_encoded_size, check_response_size, request_deadline
from handler.contract.responses import encode_response, response_model
from handler.contract.schemas import DeploymentRequest, EmbeddingRequest
from handler.embedding.deadline import Deadline
from handler.embedding.embedder import Embedder, Embeddings
from handler.embedding.prompts import MARK, choose_prompt
from handler.errors import RequestError
from handler.models.catalog import Catalog

router = APIRouter()
Result = TypeVar("Result")


@router.post("/openai/deployments/{model:path}/embeddings", include_in_schema=False)  # noqa: FAST003 - as for get_model
@router.post("/v1/embeddings")  # below the other, so that it is registered before it and tried first
async def create_embeddings(request: Request) -> Response:
    """Create the embedding of a text, or of each of up to 2048 texts."""
    content = decode_body(request.scope, await request.body(), MAX_BODY_BYTES)
    if deployment := request.path_params.get("model"):
        body: EmbeddingRequest = DeploymentRequest.parse(content).model_copy(update={"model": deployment})
    else:
        body = EmbeddingRequest.parse(content)
    _check_decodable(request, body)
    embedder, model, output, embeddings = await _run_until_disconnect(request, partial(_embed, request, body))
    started = time.perf_counter()
    content = encode_response(
        embeddings.vectors, model=model, tokens=embeddings.tokens, encoding_format=output.encoding_format
    )
    headers: dict[str, str] = {}
    if output.encoding_format == "float" and len(content) >= MIN_BYTES:
        content, headers = await _compress_if_accepted(request, content)
    check_encoded_size(content, output, compressed="content-encoding" in headers)
    timings = {**embedder.load_timings, **embeddings.timings, "encode": time.perf_counter() - started}
    embedder.load_timings = {}
    headers["x-model-digest"] = f"sha256:{embedder.digest}"
    headers["server-timing"] = server_timing(timings, embeddings.cached)
    if embeddings.long_inputs:
        headers["x-long-inputs"] = f"{request.app.state.settings.long_input}; count={embeddings.long_inputs}"
    record = request.scope["record"]
    record.model, record.inputs, record.tokens = embedder.manifest.id, output.inputs, embeddings.tokens
    record.long_inputs, record.cached, record.timings = embeddings.long_inputs, embeddings.cached, timings
    return Response(content, media_type="application/json", headers=headers)


def _check_decodable(request: Request, body: EmbeddingRequest) -> None:
    """Refuse base64 of another type than float to an official client, which adds `encoding_format: "base64"` by itself.

    It would decode the bytes as float32 and return a fourth of the components, all of them wrong. Its request does not
    show whether the caller asked for base64.

    Raises:
        RequestError: it is such a request.
    """
    if body.encoding_format != "base64" or (body.output_dtype or "float") == "float":
        return
    if "x-stainless-lang" in request.headers:
        raise RequestError(
            f"Invalid value for 'encoding_format': OpenAI's clients ask for base64 by themselves and decode it as "
            f"float32, not as output_dtype '{body.output_dtype}': pass encoding_format 'float', which gives numbers.",
            param="encoding_format",
            code="invalid_value",
        )


def _embed(request: Request, body: EmbeddingRequest, deadline: Deadline) -> tuple[Embedder, str, Output, Embeddings]:
    """Load the model if necessary, check that the response will fit, and embed the inputs.

    The second result is the response's `model`.
    """
    catalog = _catalog(request)
    embedder = catalog.get(body.model, deadline)
    manifest = embedder.manifest
    suffix = catalog.prompt(body.model) if MARK in body.model else ""
    prompt_name = (
        choose_prompt(manifest.id, manifest.prompts, body.input_type, suffix) if body.input_type or suffix else ""
    )
    output_dtype = body.output_dtype or "float"
    dimensions = embedder.check_output(body.dimensions, output_dtype)
    output = Output(len(body.input), dimensions, body.encoding_format or "float", output_dtype)
    check_response_size(request.scope, output)
    model = response_model(body.model, manifest.id, suffix, embedder.digest)
    embeddings = embedder.embed(body.input, dimensions, prompt_name, deadline, output_dtype, cache=True)
    return embedder, model, output, embeddings


async def _compress_if_accepted(request: Request, content: bytes) -> tuple[bytes, dict[str, str]]:
    """Return a large body, compressed if the client accepts that, and the headers that say so."""
    if not accepts_gzip(request.scope):
        return content, {"vary": "Accept-Encoding"}
    compressed = await _run_in_thread(request, partial(compress, content))
    return compressed, {"vary": "Accept-Encoding", "content-encoding": "gzip"}


@router.get("/v1/models")
async def list_models(request: Request) -> Response:
    """List every name that a request's `model` may have, for the models whose manifest could be read."""
    from handler.api.descriptions import describe_all  # not at the top: a cold start is for embeddings

    work = partial(describe_all, _catalog(request), request_deadline(request.scope))
    return Response(await _run_in_thread(request, work), media_type="application/json")


# `:path` because aliases may contain a slash, as in sentence-transformers/all-MiniLM-L6-v2
@router.get("/v1/models/{model:path}")  # noqa: FAST003 - for a path parameter, FastAPI would import pydantic.v1
async def get_model(request: Request) -> Response:
    """Describe one model, by ID or alias, with a canary that it embeds now, and what the output types lose."""
    from handler.api.descriptions import describe_one

    work = partial(describe_one, _catalog(request), request.path_params["model"], request_deadline(request.scope))
    return Response(await _run_in_thread(request, work), media_type="application/json")


@router.get("/health")
async def health() -> Response:
    """Respond as long as the service runs."""
    return Response(b'{"status":"ok"}', media_type="application/json")


def server_timing(seconds: Mapping[str, float], cached: int) -> str:
    """Format stage timings, in milliseconds, and the number of cached tokens as a Server-Timing header.

    Source: www.w3.org/TR/server-timing
    """
    stages = ", ".join([f"{stage};dur={duration * 1000:.2f}" for stage, duration in seconds.items()])
    return f'{stages}, cache;desc="{cached} tokens"' if cached else stages


async def _run_in_thread(request: Request, work: Callable[[], Result]) -> Result:
    """Run slow work outside the event loop; not on Lambda, which sends one event at a time: a thread costs 0.6 ms."""
    return work() if "aws.event" in request.scope else await asyncio.to_thread(work)


async def _run_until_disconnect(request: Request, work: Callable[[Deadline], Result]) -> Result:
    """Run the work of a request that has been read; cancel it if the client disconnects, which Lambda cannot see."""
    deadline = request_deadline(request.scope)
    if "aws.event" in request.scope:
        return work(deadline)
    cancelled = Event()
    watcher = asyncio.create_task(_set_on_disconnect(cancelled, request.receive))
    try:
        return await asyncio.to_thread(work, deadline._replace(is_cancelled=cancelled.is_set))
    finally:
        watcher.cancel()


async def _set_on_disconnect(event: Event, receive: Receive) -> None:
    """Set an event when the client disconnects: a thread cannot be cancelled, but its work looks at the event."""
    while (await receive())["type"] != "http.disconnect":
        pass
    event.set()


def _catalog(request: Request) -> Catalog:
    catalog: Catalog = request.app.state.catalog
    return catalog
