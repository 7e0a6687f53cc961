"""The spine: inputs to unit vectors. Whoever reads this file knows the system."""

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from handler.artifacts import Artifacts
from handler.errors import ArtifactError, RequestError
from handler.inference import InferenceSession
from handler.pooling import POOLING, Vector, l2_normalize, truncate_dimensions, weighted_mean
from handler.settings import Settings
from handler.tokenization import Encoding, TokenIds, Tokenizer


@dataclass(frozen=True, slots=True)
class Embeddings:
    """What came of a request's inputs, in their order.

    vectors      float32 (inputs, dimensions)
    tokens       tokens the model read, special tokens included
    long_inputs  how many inputs were too long and were truncated or read in windows
    timings      seconds by stage, in the order they ran
    """

    vectors: NDArray[np.float32]
    tokens: int
    long_inputs: int
    timings: dict[str, float]


class Embedder:
    """One model: tokenizer, session and the way its hidden states become a vector.

    `loading` is what the load took, in seconds by phase, until a request has reported it.

    Each text runs alone and unpadded, so its vector is the same bit for bit in any company: dynamic quantization
    takes its scale from the whole tensor, and in a padded batch that would be the neighbours' too
    (microsoft/onnxruntime#10111). Parallelism is over texts, one worker per vCPU.
    """

    def __init__(self, artifacts: Artifacts, settings: Settings) -> None:
        """Load the tokenizer and the session.

        Raises:
            ArtifactError: the files are what the manifest says, but cannot be loaded.
        """
        manifest = artifacts.manifest
        policies = settings.token_input, settings.long_input
        try:
            self._tokenizer = Tokenizer(artifacts.tokenizer, manifest.max_tokens, *policies)
            self._session = InferenceSession(artifacts.model)
        except Exception as error:
            raise ArtifactError(
                f"model '{manifest.id}' cannot be loaded: {error}; rebuild it with make model"
            ) from error
        self.manifest = manifest
        self.digest = artifacts.digest
        self.loading: Mapping[str, float] = {}
        self._pool = POOLING[manifest.pooling]
        self._workers = settings.workers
        self._helpers = ThreadPoolExecutor(settings.workers, thread_name_prefix="embed")

    def embed(
        self, inputs: Sequence[str | TokenIds], dimensions: int | None = None, kind: str | None = None
    ) -> Embeddings:
        """Embed texts or token ids; `kind` is a prompt's name in the manifest, such as `query`.

        Raises:
            RequestError: an input or the number of dimensions is not one the model can serve.
        """
        dimensions = self.check_dimensions(dimensions)
        started = time.perf_counter()
        encodings = self._tokenizer.encode(inputs, self.manifest.prompts.get(kind or "", ""))
        tokenized = time.perf_counter()
        vectors = self._embed_all(encodings, dimensions)
        embedded = time.perf_counter()
        return Embeddings(
            vectors=vectors,
            tokens=sum(map(len, encodings)),
            long_inputs=sum(encoding.long for encoding in encodings),
            timings={"tokenize": tokenized - started, "infer": embedded - tokenized},
        )

    def _embed_all(self, encodings: list[Encoding], dimensions: int) -> NDArray[np.float32]:
        """Share the inputs among the workers, longest first so that none ends up alone with a long one.

        The calling thread is one of them: waking another for a single text would cost more than its vector.
        """
        vectors = np.empty((len(encodings), dimensions), np.float32)
        queue = iter(sorted(range(len(encodings)), key=lambda index: -len(encodings[index])))

        def work() -> None:
            for index in queue:  # `next` on a list's iterator is atomic, so workers never take the same index
                vectors[index] = self._embed_one(encodings[index], dimensions)

        helpers = [self._helpers.submit(work) for _ in range(min(self._workers, len(encodings)) - 1)]
        work()
        for helper in helpers:
            if not helper.cancel():  # one that has not begun has nothing left to do
                helper.result()
        return vectors

    def _embed_one(self, encoding: Encoding, dimensions: int) -> Vector:
        pooled = [self._pool(self._session.run(window)) for window in encoding.windows]
        vector = truncate_dimensions(weighted_mean(pooled, list(map(len, encoding.windows))), dimensions)
        if self.manifest.normalize or dimensions < self.manifest.dimensions:
            return l2_normalize(vector)
        if not np.isfinite(vector).all():
            raise FloatingPointError("a vector holds a NaN or an infinity")
        return vector

    def check_dimensions(self, dimensions: int | None) -> int:
        """Return the number of dimensions to serve: absent, null, 0 and the native size all mean the native size.

        Raises:
            RequestError: the model has not so many.
        """
        native = self.manifest.dimensions
        if dimensions is not None and not 0 <= dimensions <= native:
            raise RequestError(
                f"Invalid value for 'dimensions': {dimensions} is not between 1 and {native}, "
                f"the number of dimensions of '{self.manifest.id}'.",
                param="dimensions",
                code="invalid_value",
            )
        return dimensions or native
