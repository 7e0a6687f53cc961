"""The requests of a shard, embedded together: each has the vectors, or the error, of a request of its own."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Event

import numpy as np
from numpy.typing import NDArray

from handler.bulk.batch_requests import Request
from handler.contract.schemas import EmbeddingRequest
from handler.embedding.deadline import Deadline
from handler.embedding.embedder import Embedder
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
    alike: defaultdict[tuple[int | None, str | None, bool], list[Todo]] = defaultdict(list)
    for request in requests:
        body = request.body
        if isinstance(body, RequestError):
            answers[request.position] = body
        else:
            alike[body.dimensions, body.prompt_name, isinstance(body.input[0], str)].append((request, body))
    for todo in alike.values():
        answers |= _embed(todo, embedder, Deadline(arrived=0, is_cancelled=stop.is_set))
    return [answers[request.position] for request in requests]


def _embed(todo: Sequence[Todo], embedder: Embedder, deadline: Deadline) -> dict[int, Answer]:
    """Embed requests that only differ in their inputs, in one call; where that fails, in two."""
    inputs = [each for _, body in todo for each in body.input]
    first = todo[0][1]
    try:
        embeddings = embedder.embed(inputs, first.dimensions, first.prompt_name, deadline)
    except (CancelledRequestError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001 - a panic in `tokenizers`, which is written in Rust, is no Exception
        if len(todo) > 1:
            middle = len(todo) // 2
            return _embed(todo[:middle], embedder, deadline) | _embed(todo[middle:], embedder, deadline)
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
