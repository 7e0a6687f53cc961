"""The requests of a shard, embedded together: each has the vectors, or the error, of a request of its own."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Event

import numpy as np
from numpy.typing import NDArray

from handler.artifacts.manifest import DIGEST_MARK
from handler.bulk.batch_requests import Request
from handler.contract.schemas import EmbeddingRequest
from handler.embedding.deadline import Deadline
from handler.embedding.embedder import Embedder
from handler.embedding.prompts import MARK, choose_prompt, find_prompt
from handler.errors import CancelledRequestError, RequestError
from handler.telemetry import log_unexpected


@dataclass(frozen=True, slots=True)
class Embedded:
    """What a request's response has: vectors, float32 (inputs, dimensions), and the tokens that the model read."""

    vectors: NDArray[np.float32]
    tokens: int


@dataclass(frozen=True, slots=True)
class Unexpected:
    """A request at which the model fails, as it would online."""


Answer = Embedded | RequestError | Unexpected
Todo = tuple[Request, EmbeddingRequest]


def embed_requests(requests: Sequence[Request], embedder: Embedder, stop: Event) -> list[Answer]:
    """Embed requests; return what came of each.

    Raises:
        CancelledRequestError: `stop` was set.
    """
    answers: dict[int, Answer] = {}
    alike: defaultdict[tuple[int | None, str, bool], list[Todo]] = defaultdict(list)
    for request in requests:
        body = request.body
        if isinstance(body, RequestError):
            answers[request.position] = body
        elif isinstance(prompt := _prompt(body, embedder), RequestError):
            answers[request.position] = prompt
        else:
            alike[body.dimensions, prompt, isinstance(body.input[0], str)].append((request, body))
    for (_, prompt, _), todo in alike.items():
        answers |= _embed(todo, embedder, prompt, Deadline(arrived=0, is_cancelled=stop.is_set))
    return [answers[request.position] for request in requests]


def suffix_of(model: str, embedder: Embedder) -> str:
    """Return the prompt that follows the name in a request's `model`; empty if none does."""
    _, mark, suffix = model.partition(DIGEST_MARK)[0].rpartition(MARK)
    return suffix if mark and find_prompt(suffix, embedder.manifest.prompts) is not None else ""


def _prompt(body: EmbeddingRequest, embedder: Embedder) -> str | RequestError:
    """Return the name of the prompt that a request asks for, or why there is none."""
    manifest, suffix = embedder.manifest, suffix_of(body.model, embedder)
    try:
        return choose_prompt(manifest.id, manifest.prompts, body.input_type, suffix)
    except RequestError as error:
        return error


def _embed(todo: Sequence[Todo], embedder: Embedder, prompt: str, deadline: Deadline) -> dict[int, Answer]:
    """Embed requests that only differ in their inputs, in one call; where that fails, in two."""
    inputs = [each for _, body in todo for each in body.input]
    first = todo[0][1]
    try:
        embeddings = embedder.embed(inputs, first.dimensions, prompt, deadline)
    except (CancelledRequestError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001 - a panic in `tokenizers`, which is written in Rust, is no Exception
        if len(todo) > 1:
            middle = len(todo) // 2
            return _embed(todo[:middle], embedder, prompt, deadline) | _embed(todo[middle:], embedder, prompt, deadline)
        position = todo[0][0].position
        if isinstance(error, RequestError):
            return {position: error}
        log_unexpected(f"at byte {position} of a batch", error)
        return {position: Unexpected()}
    answers: dict[int, Answer] = {}
    start = 0
    for request, body in todo:
        end = start + len(body.input)
        answers[request.position] = Embedded(embeddings.vectors[start:end], embeddings.tokens_of(start, end))
        start = end
    return answers
