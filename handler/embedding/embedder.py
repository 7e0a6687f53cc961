"""The spine: inputs to unit vectors. Whoever reads this file knows the system."""

import time
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from handler.artifacts.resolver import Artifacts
from handler.embedding.deadline import NEVER, Deadline, Progress
from handler.embedding.inference import InferenceSession
from handler.embedding.pooling import POOLING, Vectors, average_windows, l2_normalize, truncate_dimensions
from handler.embedding.tokenization import TokenIds, Tokenizer
from handler.errors import ArtifactError, RequestError
from handler.settings import Settings

# Enough that the weights, read from memory once a run, are no longer what a short text costs; more gains nothing, as
# intermediate results leave the caches.
RUN_TOKENS = 256


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

    Texts share a run only with others of their length, unpadded, and the graph quantizes by constants: a vector is the
    same bit for bit in any company. With padding and dynamic quantization it is not (microsoft/onnxruntime#10111).
    Parallelism is over runs, one worker per vCPU.
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
        self,
        inputs: Sequence[str | TokenIds],
        dimensions: int | None = None,
        kind: str | None = None,
        deadline: Deadline = NEVER,
    ) -> Embeddings:
        """Embed texts or token ids; `kind` is a prompt's name in the manifest, such as `query`.

        Raises:
            RequestError: an input or the number of dimensions is not one the model can serve, or not in time.
            UnavailableError: the time was spent before the work began.
        """
        dimensions = self.check_dimensions(dimensions)
        started = time.perf_counter()
        encodings = self._tokenizer.encode(inputs, self.manifest.prompts.get(kind or "", ""))
        tokenized = time.perf_counter()
        windows = [window for encoding in encodings for window in encoding.windows]
        pooled = self._pool_all(windows, Progress(deadline, len(inputs)))
        if len(windows) > len(encodings):
            pooled = average_windows(pooled, [list(map(len, encoding.windows)) for encoding in encodings])
        vectors = self._finish(truncate_dimensions(pooled, dimensions))
        embedded = time.perf_counter()
        return Embeddings(
            vectors=vectors,
            tokens=sum(map(len, encodings)),
            long_inputs=sum(encoding.long for encoding in encodings),
            timings={"tokenize": tokenized - started, "infer": embedded - tokenized},
        )

    def _pool_all(self, windows: list[TokenIds], progress: Progress) -> Vectors:
        """Infer and pool token sequences, equal ones once, by all workers; return (windows, hidden).

        Longest first, so that no worker ends up alone with a long one. The calling thread is one of them: waking
        another for a single text would cost more than its vector.
        """
        keys = list(map(tuple, windows))
        sequences = sorted(dict.fromkeys(keys), key=len, reverse=True)
        pooled = np.empty((len(sequences), self.manifest.dimensions), np.float32)
        lengths = list(map(len, sequences))
        runs, tokens = _runs(lengths, self._workers), sum(lengths)
        queue = iter(runs)

        def work() -> None:
            try:
                for run in queue:  # `next` on a list's iterator is atomic, so workers never take the same run
                    token_ids = np.array(sequences[run], np.int64)
                    pooled[run] = self._pool(self._session.run(np.ascontiguousarray(token_ids.T)))
                    progress.advance(token_ids.size, of=tokens)
            except BaseException:
                deque(queue, maxlen=0)  # nobody will read what the others would still do
                raise

        helpers = [self._helpers.submit(work) for _ in range(min(self._workers, len(runs)) - 1)]
        try:
            work()
        finally:
            running = [helper for helper in helpers if not helper.cancel()]  # one that has not begun has nothing to do
            wait(running)
        for helper in running:
            helper.result()
        rows = {sequence: row for row, sequence in enumerate(sequences)}
        everyones: Vectors = pooled[[rows[key] for key in keys]]
        return everyones

    def _finish(self, vectors: Vectors) -> Vectors:
        if self.manifest.normalize or vectors.shape[1] < self.manifest.dimensions:
            return l2_normalize(vectors)
        if not np.isfinite(vectors).all():
            raise FloatingPointError("a vector holds a NaN or an infinity")
        return vectors

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


def _runs(lengths: list[int], workers: int) -> list[slice]:
    """Cut sequences that are ordered by their length into runs of one length.

    A run has about RUN_TOKENS tokens, but none so many that another worker would have nothing to do.
    """
    most = min(RUN_TOKENS, -(-sum(lengths) // workers))
    runs, start = [], 0
    for length, same in groupby(lengths):
        end, texts = start + len(list(same)), max(1, most // length)
        runs += [slice(first, min(first + texts, end)) for first in range(start, end, texts)]
        start = end
    return runs
