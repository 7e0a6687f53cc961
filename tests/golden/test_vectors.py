"""Vectors of the bundled model, compared with those of sentence-transformers and with each other."""

import platform
import random
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from handler.artifacts.manifest import sha256_of
from handler.embedding.embedder import Embedder
from handler.embedding.inference import InferenceSession
from handler.settings import Settings
from model_artifacts.recipe.verify import MIN_MEAN_COSINE
from tests.hook import deployment_hook

# Of the float32 vectors of all golden texts, in order, recorded on an AMD EPYC with AVX-512 and VNNI; any x86 processor
# with AVX2 gives the same.
RECORDED_SHA256 = "f9d8b71445db08d81a5d6c3096fafd8b488044d26c5cecbac461022aee1eb026"
EXAMPLE = "The food was delicious and the waiter..."


def test_api_documents_example_has_the_vector_of_sentence_transformers(embedder, golden):
    expected = golden.vectors[golden.texts.index(EXAMPLE)]
    (vector,) = embedder(1).embed([EXAMPLE]).vectors
    assert vector @ expected > MIN_MEAN_COSINE


def test_golden_texts_reach_the_quality_in_the_manifest(embedder, golden, artifacts):
    cosines = (embedder(2).embed(golden.texts).vectors * golden.vectors).sum(axis=1)
    recorded = artifacts.manifest.quality["golden"]
    assert len(golden.texts) == recorded["texts"]
    assert cosines.mean() == pytest.approx(recorded["cosine_mean"], abs=1e-3)
    assert cosines.mean() >= MIN_MEAN_COSINE


def test_deployment_hook_has_the_reference_vectors(embedder, golden):
    hook = deployment_hook()
    for text, reference in hook["REFERENCE"].items():
        expected = golden.vectors[golden.texts.index(text)]
        np.testing.assert_allclose(reference, expected[: len(reference)], atol=6e-4)
        (vector,) = embedder(1).embed([text]).vectors
        assert abs(vector[: len(reference)] - expected[: len(reference)]).max() < hook["TOLERANCE"] / 2


@pytest.fixture(scope="module")
def alone(embedder, golden) -> np.ndarray:
    """Embed each text alone."""
    single_worker = embedder(1)
    return np.concatenate([single_worker.embed([text]).vectors for text in golden.texts])


@pytest.mark.skipif(platform.machine() != "x86_64", reason="arm64 rounds otherwise: docs/operations.md")
def test_vectors_have_the_bits_recorded_on_another_processor(alone):
    assert sha256_of(alone.tobytes()) == RECORDED_SHA256


@pytest.mark.parametrize("threads", [2, 3])
def test_vectors_are_bit_identical_by_runs_of_several_threads(artifacts, golden, alone, threads, monkeypatch):
    monkeypatch.setattr("handler.embedding.runs.PARALLEL_TOKENS", range(1, 513))
    session = InferenceSession(artifacts.model, threads)
    embedder = Embedder(artifacts, Settings(workers=threads), lambda: session)
    monkeypatch.setattr(embedder._runs, "_session", None)  # so no text is read by another
    np.testing.assert_array_equal(np.concatenate([embedder.embed([text]).vectors for text in golden.texts]), alone)


@pytest.mark.parametrize("workers", [1, 2, 6])
def test_vectors_are_bit_identical_whatever_else_is_in_the_batch(embedder, golden, alone, workers):
    batch_embedder = embedder(workers)
    shuffled = list(range(len(golden.texts)))
    random.Random(workers).shuffle(shuffled)
    for order in (list(range(len(golden.texts))), shuffled, shuffled[:7] * 3):
        vectors = batch_embedder.embed([golden.texts[index] for index in order]).vectors
        np.testing.assert_array_equal(vectors, alone[order])


def test_native_token_ids_give_the_vector_of_their_text(embedder, golden, alone, artifacts):
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_buffer(artifacts.tokenizer)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    ids = [encoding.ids for encoding in tokenizer.encode_batch(golden.texts)]
    np.testing.assert_array_equal(embedder(2).embed(ids).vectors, alone)


def test_longest_golden_text_has_the_manifests_maximum_length(embedder, golden, artifacts):
    single_worker = embedder(1)
    tokens = [single_worker.embed([text]).tokens for text in golden.texts]
    assert max(tokens) == artifacts.manifest.max_tokens


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_vectors_are_bit_identical_whatever_other_requests_share_their_runs(embedder, golden, alone, workers):
    shared = embedder(workers)
    orders = [random.Random(index).sample(range(len(golden.texts)), k=1 + index % 5) for index in range(400)]

    def embed(order: list[int]) -> None:
        vectors = shared.embed([golden.texts[index] for index in order]).vectors
        np.testing.assert_array_equal(vectors, alone[order])

    with ThreadPoolExecutor(32) as threads:
        list(threads.map(embed, orders))
