"""Vectors of the bundled model against sentence-transformers', and against themselves."""

import random

import numpy as np
import pytest

from model_artifacts.recipe.verify import LEAST_MEAN_COSINE, LEAST_P1_COSINE
from tests.hook import deployment_hook

EXAMPLE = "The food was delicious and the waiter..."


def test_the_api_documents_example_has_sentence_transformers_vector(embedder, golden):
    expected = golden.vectors[golden.texts.index(EXAMPLE)]
    (vector,) = embedder(1).embed([EXAMPLE]).vectors
    assert vector @ expected > LEAST_MEAN_COSINE


def test_the_golden_texts_keep_the_quality_that_was_sealed(embedder, golden, artifacts):
    cosines = (embedder(2).embed(golden.texts).vectors * golden.vectors).sum(axis=1)
    sealed = artifacts.manifest.quality["golden"]
    assert len(golden.texts) == sealed["texts"]
    assert cosines.mean() == pytest.approx(sealed["cosine_mean"], abs=1e-3)
    assert cosines.mean() >= LEAST_MEAN_COSINE
    assert np.percentile(cosines, 1) >= LEAST_P1_COSINE


def test_the_deployment_hook_knows_the_vectors(embedder, golden):
    hook = deployment_hook()
    for text, reference in hook["REFERENCE"].items():
        expected = golden.vectors[golden.texts.index(text)]
        np.testing.assert_allclose(reference, expected[: len(reference)], atol=6e-4)
        (vector,) = embedder(1).embed([text]).vectors
        assert abs(vector[: len(reference)] - expected[: len(reference)]).max() < hook["TOLERANCE"] / 2


@pytest.fixture(scope="module")
def alone(embedder, golden) -> np.ndarray:
    """Embed each text in a request of its own."""
    one = embedder(1)
    return np.concatenate([one.embed([text]).vectors for text in golden.texts])


@pytest.mark.parametrize("workers", [1, 2, 6])
def test_a_vector_is_the_same_bit_for_bit_in_any_company(embedder, golden, alone, workers):
    served = embedder(workers)
    shuffled = list(range(len(golden.texts)))
    random.Random(workers).shuffle(shuffled)
    for order in (list(range(len(golden.texts))), shuffled, shuffled[:7] * 3):
        vectors = served.embed([golden.texts[index] for index in order]).vectors
        np.testing.assert_array_equal(vectors, alone[order])


def test_own_token_ids_give_the_texts_vector(embedder, golden, alone, artifacts):
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_buffer(artifacts.tokenizer)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    ids = [encoding.ids for encoding in tokenizer.encode_batch(golden.texts)]
    np.testing.assert_array_equal(embedder(2).embed(ids).vectors, alone)


def test_the_longest_text_is_as_long_as_the_manifest_says(embedder, golden, artifacts):
    one = embedder(1)
    tokens = [one.embed([text]).tokens for text in golden.texts]
    assert max(tokens) == artifacts.manifest.max_tokens
