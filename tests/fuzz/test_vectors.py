"""Arbitrary texts and token IDs become unit vectors; arbitrary vectors survive encoding unchanged."""

import base64
import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache

import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from handler.artifacts.resolver import load
from handler.contract.responses import encode_response
from handler.embedding import cl100k
from handler.embedding.cache import ENTRY_BYTES
from handler.embedding.embedder import Embedder
from handler.embedding.tokenization import Tokenizer
from handler.errors import RequestError
from handler.settings import LongInput, Settings
from tests import tiny
from tests.fuzz import TEXTS, fuzz

POLICIES: tuple[LongInput, ...] = ("error", "truncate", "window")
FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)
VECTORS = arrays.arrays(np.float32, st.tuples(st.integers(1, 4), st.integers(1, 40)), elements=FLOATS)


@cache
def tokenizer(policy: LongInput) -> Tokenizer:
    """Return the bundled model's tokenizer."""
    artifacts = load("all-MiniLM-L6-v2", Settings())
    return Tokenizer(artifacts.tokenizer, artifacts.manifest.max_tokens, "decode", policy)


@cache
def embedder() -> Embedder:
    return tiny.embedder(Settings(workers=2, long_input="window", token_input="decode"))


@pytest.mark.parametrize("policy", POLICIES)
@fuzz(texts=st.lists(st.one_of(TEXTS, st.text(min_size=1), TEXTS.map(lambda text: text * 50)), min_size=1, max_size=4))
def test_texts_are_tokenized_within_the_limits(policy: LongInput, texts: list[str]) -> None:
    with suppress(RequestError):
        encodings = tokenizer(policy).encode(texts)
        assert len(encodings) == len(texts)
        for encoding, text in zip(encodings, texts, strict=True):
            assert all(2 <= len(window) <= 256 for window in encoding.windows)
            assert all(0 <= token_id < 30_522 for window in encoding.windows for token_id in window)
            assert tokenizer(policy).encode([text])[0].windows == encoding.windows


@fuzz(token_ids=st.lists(st.integers(0, cl100k.SIZE + 1), min_size=1, max_size=50))
def test_openai_token_ids_are_decoded(token_ids: list[int]) -> None:
    with suppress(RequestError):
        assert tokenizer("window").encode([token_ids])[0].windows
        cl100k.decode(token_ids).encode()


@fuzz(texts=st.lists(TEXTS, min_size=1, max_size=6))
def test_vectors_are_unit_and_independent_of_the_batch(texts: list[str]) -> None:
    vectors = embedder().embed(texts).vectors
    assert np.isfinite(vectors).all()
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    for vector, text in zip(vectors, texts, strict=True):
        np.testing.assert_array_equal(embedder().embed([text]).vectors[0], vector)


@fuzz(
    capacity=st.integers(1, 10 * (ENTRY_BYTES + 4 * tiny.HIDDEN + 50)),
    requests=st.lists(st.lists(st.sampled_from([*"abcdefgh", "the food", "was " * 40]), min_size=1), min_size=2),
)
def test_threads_that_share_a_cache_get_the_bits_of_a_fresh_embedder(capacity: int, requests: list[list[str]]) -> None:
    cached = tiny.embedder(Settings(workers=2, vector_cache=capacity))
    most = 0

    def run(texts: list[str]) -> NDArray[np.float32]:
        nonlocal most
        vectors: NDArray[np.float32] = cached.embed(texts, cache=True).vectors
        with cached._cache._lock:
            entries = cached._cache._vectors.items()
            used = sum(len(key) + len(vector) + ENTRY_BYTES for key, vector in entries)
            assert cached._cache._free == capacity - used
            most = max(most, used)
        return vectors

    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(run, requests * 2))
    assert most <= capacity
    for texts, vectors in zip(requests * 2, together, strict=True):
        np.testing.assert_array_equal(vectors.view(np.uint32), embedder().embed(texts).vectors.view(np.uint32))


@fuzz(vectors=VECTORS)
def test_floats_and_base64_round_trip_bit_for_bit(vectors: NDArray[np.float32]) -> None:
    rows = json.loads(encode_response(vectors, model="m", tokens=1, encoding_format="float"))["data"]
    read = np.array([row["embedding"] for row in rows], np.float32)
    np.testing.assert_array_equal(read.view(np.uint32), vectors.view(np.uint32))
    rows = json.loads(encode_response(vectors, model="m", tokens=1, encoding_format="base64"))["data"]
    decoded = [np.frombuffer(base64.b64decode(row["embedding"]), "<f4") for row in rows]
    np.testing.assert_array_equal(np.array(decoded).view(np.uint32), vectors.view(np.uint32))
