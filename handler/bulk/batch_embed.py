"""The requests of a shard, embedded together: each has the vectors, or the error, of a request of its own."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from threading import Event
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from handler.bulk.batch_requests import Request
from handler.contract.schemas import EmbeddingRequest
from handler.embedding.deadline import Deadline
from handler.embedding.embedder import Embedder, Embeddings
from handler.embedding.prompts import choose_prompt
from handler.embedding.tokenization import TokenIds
from handler.errors import CancelledRequestError, RequestError
from handler.telemetry import log_unexpected

if TYPE_CHECKING:
    from handler.artifacts.manifest import OutputDtype


@dataclass(frozen=True, slots=True)
class BatchModel:
    """The model that all requests of a batch name.

    embedder  the model
    prompt    the name of a prompt that follows the model's in the requests; empty for none
    name      what responses call it
    """

    embedder: Embedder
    prompt: str
    name: str

    def prompt_name(self, request: EmbeddingRequest) -> str:
        """Return the name of the prompt for a request.

        Raises:
            RequestError: its `input_type` is unknown, or contradicts the model's name.
        """
        if not (request.input_type or self.prompt):
            return ""
        manifest = self.embedder.manifest
        return choose_prompt(manifest.id, manifest.prompts, request.input_type, self.prompt)


@dataclass(frozen=True, slots=True)
class Embedded:
    """What a request's response has: vectors of its output type, a row an input, and the tokens that the model read."""

    vectors: NDArray[Any]
    tokens: int


@dataclass(frozen=True, slots=True)
class Unexpected:
    """A request at which the model fails, as it would online."""


Answer = Embedded | RequestError | Unexpected
Todo = tuple[Request, EmbeddingRequest]


def embed_requests(requests: Sequence[Request], model: BatchModel, stop: Event) -> list[Answer]:
    """Embed requests; return what came of each.

    Raises:
        CancelledRequestError: `stop` was set.
    """
    answers: dict[int, Answer] = {}
    alike: defaultdict[tuple[int, str, OutputDtype, bool], list[Todo]] = defaultdict(list)
    for request in requests:
        body = request.body
        try:
            if isinstance(body, RequestError):
                raise body
            prompt_name, output_dtype = model.prompt_name(body), body.output_dtype or "float"
            dimensions = model.embedder.check_output(body.dimensions, output_dtype)
            alike[dimensions, prompt_name, output_dtype, isinstance(body.input[0], str)].append((request, body))
        except RequestError as error:
            answers[request.position] = error
    for (dimensions, prompt_name, output_dtype, _), todo in alike.items():
        embed = partial(
            model.embedder.embed,
            dimensions=dimensions,
            prompt_name=prompt_name,
            deadline=Deadline(arrived=0, is_cancelled=stop.is_set),
            output_dtype=output_dtype,
        )
        answers |= _embed(todo, embed)
    return [answers[request.position] for request in requests]


def _embed(todo: Sequence[Todo], embed: Callable[[list[str | TokenIds]], Embeddings]) -> dict[int, Answer]:
    """Embed requests that only differ in their inputs, in one call; where that fails, in two."""
    try:
        embeddings = embed([each for _, body in todo for each in body.input])
    except (CancelledRequestError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001 - a panic in `tokenizers`, which is written in Rust, is no Exception
        if len(todo) > 1:
            middle = len(todo) // 2
            return _embed(todo[:middle], embed) | _embed(todo[middle:], embed)
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
