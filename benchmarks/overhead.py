"""Requests without the model: through the whole application, with the model replaced by constant hidden states.

python -m benchmarks.overhead
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import orjson
from numpy.typing import NDArray

from handler.api.app import create_app
from handler.artifacts.resolver import load
from handler.contract.responses import encode_response
from handler.contract.schemas import EmbeddingRequest
from handler.embedding.embedder import Embedder
from handler.embedding.inference import InferenceSession
from handler.embedding.pooling import HiddenStates
from handler.lambda_events import LambdaHandler
from handler.models.catalog import Catalog
from handler.settings import Settings
from tests.events import context, event

TEXT = "The food was delicious and the waiter brought more bread before anyone thought of asking him for it."  # 100
VECTOR = np.ones(384, np.float32)
CALLS = {1: 500, 2048: 11}


class ConstantSession(InferenceSession):
    """A session that returns the same hidden states for every text, without computing."""

    def __init__(self) -> None:
        self.hidden_states: HiddenStates = np.random.default_rng(0).normal(size=(1, 1, 384)).astype(np.float32)

    def run(self, token_ids: NDArray[np.int64]) -> HiddenStates:
        """Return the constant hidden states, (tokens, texts, 384)."""
        return np.broadcast_to(self.hidden_states, (*token_ids.shape, 384))


@dataclass(frozen=True, slots=True)
class Overhead:
    """Median milliseconds of a request without the model.

    texts        number of texts in the request
    contract_ms  parsing, validating and encoding alone
    path_ms      the whole path from Lambda event to response
    """

    texts: int
    contract_ms: float
    path_ms: float


def main() -> None:
    """Print the median milliseconds for one text and for 2048."""
    print(f"{'texts':>6} {'parse, validate, encode':>24} {'lambda_handler without the model':>34}")
    for each in measure():
        print(f"{each.texts:6} {each.contract_ms:21.2f} ms {each.path_ms:31.2f} ms")


def measure() -> list[Overhead]:
    """Measure requests of one text and of 2048 texts."""
    handle = handler_without_model()
    return [_measure(handle, texts, calls) for texts, calls in CALLS.items()]


def handler_without_model(vector_cache: int = 0) -> LambdaHandler:
    """Return the Lambda handler with its model replaced by constant hidden states."""
    settings = Settings(auth_mode="none", vector_cache=vector_cache)
    embedder = Embedder(load(settings.models[0], settings), settings)
    embedder._runs._session = ConstantSession()
    return LambdaHandler(create_app(settings, Catalog.of([embedder], settings)))


def body(texts: int, first: int = 0) -> bytes:
    """Return the body of a request with this number of texts, about 100 characters each, for base64 vectors."""
    inputs = [f"{TEXT} {index}" for index in range(first, first + texts)]  # equal texts would be embedded only once
    return orjson.dumps({"model": "all-MiniLM-L6-v2", "input": inputs, "encoding_format": "base64"})


def _measure(handle: LambdaHandler, texts: int, calls: int) -> Overhead:
    content = body(texts)
    request = event("http-api-2.0", content.decode())
    contract = _median(partial(_contract, content), calls)
    whole = _median(partial(handle, request, context()), calls)
    return Overhead(texts, contract, whole)


def _contract(content: bytes) -> None:
    request = EmbeddingRequest.parse(content)
    vectors = np.broadcast_to(VECTOR, (len(request.input), 384))
    encode_response(vectors, model="m", tokens=1, encoding_format=request.encoding_format or "float")


def _median(run: Callable[[], object], calls: int) -> float:
    times = []
    for _ in range(calls + 1):
        started = time.perf_counter()
        run()
        times.append(time.perf_counter() - started)
    return statistics.median(times[1:]) * 1000


if __name__ == "__main__":
    main()
