"""Core pipeline: tokenize, infer, pool, truncate, normalize, convert. The rest of the project serves this file."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from handler.artifacts.manifest import CALIBRATED, PACKED, OutputDtype
from handler.artifacts.resolver import Artifacts
from handler.embedding.cache import NO_CACHE, VectorCache
from handler.embedding.deadline import NO_DEADLINE, Deadline
from handler.embedding.inference import SESSIONS, InferenceSession
from handler.embedding.pooling import POOLING, Vectors, average_windows, l2_normalize, truncate_dimensions
from handler.embedding.runs import Runs
from handler.embedding.tokenization import Encoding, TokenIds, Tokenizer
from handler.errors import ArtifactError, RequestError
from handler.settings import Settings


class Embeddings(NamedTuple):  # a dataclass takes half a millisecond more of a cold start
    """The vectors of a request's inputs, in order.

    vectors      float32 (inputs, dimensions), or of the output type that was asked for
    tokens       number of tokens the model read, special tokens included
    long_inputs  number of inputs that were too long and were truncated or read in windows
    cached       number of tokens whose vectors came from the cache
    timings      seconds by stage, in the order in which they ran
    encodings    what the model read of each input
    """

    vectors: NDArray[Any]
    tokens: int
    long_inputs: int
    cached: int
    timings: dict[str, float]
    encodings: Sequence[Encoding]

    def tokens_of(self, start: int, end: int) -> int:
        """Return the number of tokens that the model read of the inputs in [start, end)."""
        return sum(len(window) for encoding in self.encodings[start:end] for window in encoding.windows)


class Embedder:
    """One model: tokenizer, session and the way its hidden states become a vector.

    `load_timings` has the seconds of each phase of the load, until a request has reported them.

    Texts share a run only with others of their length, unpadded, and the graph quantizes by constants, so the other
    texts of a run change no bit of a vector. With padding and dynamic quantization they do
    (microsoft/onnxruntime#10111), so texts of a graph that is not the recipe's run one by one. Requests share runs, and
    runs are the unit of parallelism: one worker per vCPU does one at a time, and a text that comes alone uses all.
    """

    def __init__(
        self,
        artifacts: Artifacts,
        settings: Settings,
        parallel: Callable[[], InferenceSession | None] = lambda: None,
    ) -> None:
        """Load the tokenizer and the session; `parallel` is that of `Runs`.

        Raises:
            ArtifactError: the files match the manifest, but cannot be loaded.
            RuntimeError: the process may start no more threads.
        """
        manifest = artifacts.manifest
        policies = settings.token_input, settings.long_input
        with _translate_errors(f"model '{manifest.id}' cannot be loaded"):
            self._tokenizer = Tokenizer(artifacts.tokenizer, manifest.max_tokens, *policies)
            session = SESSIONS[manifest.graph](artifacts.model)
        self.manifest = manifest
        self.digest = artifacts.digest
        self.load_timings: Mapping[str, float] = {}
        self._cache = VectorCache(settings.vector_cache)
        self._runs = Runs(session, POOLING[manifest.pooling], manifest.dimensions, settings.workers, parallel)

    def warm_up(self) -> None:
        """Embed one text: the first request finds a warm session, and a model that fails is not served.

        Raises:
            ArtifactError: the model does not run, or its vectors are not those of its manifest.
        """
        with _translate_errors(f"model '{self.manifest.id}' cannot be run"):
            self.embed(["warm"])

    def embed(  # noqa: PLR0913 - one for each field of a request
        self,
        inputs: Sequence[str | TokenIds],
        dimensions: int | None = None,
        prompt_name: str | None = None,
        deadline: Deadline = NO_DEADLINE,
        output_dtype: OutputDtype = "float",
        *,
        cache: bool = False,
    ) -> Embeddings:
        """Embed texts or token IDs, with or without the cache; `prompt_name` names a prompt in the manifest.

        Raises:
            RequestError: an input, the number of dimensions or the output type is invalid for this model, or the
                deadline is too near.
            UnavailableError: the time was spent before the work began.
            CancelledRequestError: the client has disconnected.
        """
        dimensions = self.check_output(dimensions, output_dtype)
        started = time.perf_counter()
        encodings = self._tokenizer.encode(inputs, self.manifest.prompts.get(prompt_name or "", ""), deadline)
        tokenized = time.perf_counter()
        windows = [window for encoding in encodings for window in encoding.windows]
        known = self._cache if cache else NO_CACHE
        pooled, cached = known.complete(windows, partial(self._runs.pool, inputs=len(inputs), deadline=deadline))
        if len(windows) > len(encodings):
            pooled = average_windows(pooled, [list(map(len, encoding.windows)) for encoding in encodings])
        vectors = self._finish(truncate_dimensions(pooled, dimensions), output_dtype)
        embedded = time.perf_counter()
        return Embeddings(
            vectors=vectors,
            tokens=sum(map(len, windows)),
            long_inputs=sum(encoding.long for encoding in encodings),
            cached=cached,
            timings={"tokenize": tokenized - started, "infer": embedded - tokenized},
            encodings=encodings,
        )

    def check(self, text: str, prompt_name: str | None = None) -> RequestError | None:
        """Return the error that `embed` would raise for a text alone, without inference."""
        try:
            self._tokenizer.encode([text], self.manifest.prompts.get(prompt_name or "", ""))
        except RequestError as error:
            return error
        return None

    def _finish(self, vectors: Vectors, output_dtype: OutputDtype) -> NDArray[Any]:
        truncated = vectors.shape[1] < self.manifest.dimensions
        if self.manifest.normalize or truncated or output_dtype in CALIBRATED:
            vectors = l2_normalize(vectors)
        elif not np.isfinite(vectors).all():
            raise FloatingPointError("a vector contains a NaN or an infinity")
        if output_dtype == "float":
            return vectors
        from handler.embedding.quantization import convert

        return convert(vectors, output_dtype, self.manifest.calibration.get("int8"))

    def check_output(self, dimensions: int | None, output_dtype: OutputDtype = "float") -> int:
        """Return the number of dimensions to serve: None, 0 and the native size all mean the native size.

        Raises:
            RequestError: the model has fewer, or the number is negative, or the output type needs another number, or
                the model lacks what the output type needs.
        """
        native = self.manifest.dimensions
        if dimensions is not None and not 0 <= dimensions <= native:
            raise RequestError(
                f"Invalid value for 'dimensions': {dimensions} is not between 1 and {native}, "
                f"the number of dimensions of '{self.manifest.id}'.",
                param="dimensions",
                code="invalid_value",
            )
        served = dimensions or native
        if output_dtype in PACKED and served % 8:
            raise RequestError(
                f"Invalid value for 'dimensions': {served} is not a multiple of 8, as output_dtype '{output_dtype}' "
                "needs, which packs 8 of them into a byte.",
                param="dimensions",
                code="invalid_value",
            )
        if output_dtype in CALIBRATED and "int8" not in self.manifest.calibration:
            raise RequestError(
                f"Invalid value for 'output_dtype': '{self.manifest.id}' is not calibrated for '{output_dtype}', "
                "because an earlier version built it: rebuild it with make model, or ask for another output_dtype.",
                param="output_dtype",
                code="invalid_value",
            )
        return served


@contextmanager
def _translate_errors(failure: str) -> Iterator[None]:
    """Raise any error as an ArtifactError."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a panic in `tokenizers`, which is written in Rust, is no Exception
        raise ArtifactError(f"{failure}: {error}; rebuild it with make model") from error
