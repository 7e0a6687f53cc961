"""The code around the model: a request through the whole application, with the model replaced by a constant.

python -m benchmarks.contract
"""

import statistics
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import orjson
from mangum import Mangum
from numpy.typing import NDArray

from handler.app import create_app
from handler.artifacts import load
from handler.catalog import Catalog
from handler.embedder import Embedder
from handler.encoding import encode_response
from handler.inference import InferenceSession
from handler.pooling import HiddenStates
from handler.schemas import EmbeddingRequest
from handler.settings import Settings
from tests.events import context, event

TEXT = "The food was delicious and the waiter brought more bread before anyone thought of asking him for it."  # 100
VECTOR = np.ones(384, np.float32)
CALLS = {1: 500, 2048: 11}


class Constant(InferenceSession):
    """Stands for the session: every text has the same hidden states."""

    def __init__(self) -> None:
        self.hidden_states: HiddenStates = np.random.default_rng(0).normal(size=(1, 1, 384)).astype(np.float32)

    def run(self, token_ids: NDArray[np.int64]) -> HiddenStates:
        """Return the hidden states of nothing, (1, texts, 384)."""
        return np.broadcast_to(self.hidden_states, (1, token_ids.shape[1], 384))


def main() -> None:
    """Print the median milliseconds for one text and for 2048."""
    settings = Settings(auth_mode="none")
    embedder = Embedder(load(settings.models[0], settings), settings)
    embedder._session = Constant()
    handle = Mangum(create_app(settings, Catalog.of([embedder], settings)), lifespan="off")
    print(f"{'texts':>6} {'parse, validate, encode':>24} {'lambda_handler, all but the model':>34}")
    for texts, calls in CALLS.items():
        body = orjson.dumps(
            {
                "model": "all-MiniLM-L6-v2",
                "input": [f"{TEXT} {index}" for index in range(texts)],
                "encoding_format": "base64",
            }
        )
        asked = event("http-api-2.0", body.decode())
        contract = _median(partial(_contract, body), calls)
        whole = _median(partial(handle, asked, context()), calls)
        print(f"{texts:6} {contract:21.2f} ms {whole:31.2f} ms")


def _contract(body: bytes) -> None:
    request = EmbeddingRequest.parse(body)
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
