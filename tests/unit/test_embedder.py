from dataclasses import replace

import numpy as np
import pytest

from handler.embedder import Embedder
from handler.errors import ArtifactError, RequestError
from handler.settings import Settings
from tests import tiny

TEXTS = ["the food was good", "a", "a b c d e f g h i j k l m", "the foods .", "z z"]


def test_vectors_are_unit_float32_in_the_order_of_the_inputs():
    embeddings = tiny.embedder().embed(TEXTS)
    assert embeddings.vectors.shape == (len(TEXTS), tiny.HIDDEN)
    assert embeddings.vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(embeddings.vectors, axis=1), 1, atol=1e-6)
    assert list(embeddings.timings) == ["tokenize", "infer"]


def test_tokens_are_those_the_model_read_special_ones_included():
    assert tiny.embedder().embed(["a b", "the food"]).tokens == 8
    assert tiny.embedder().embed([[2, 4, 3]]).tokens == 3


@pytest.mark.parametrize("workers", [1, 2, 6])
def test_a_vector_never_depends_on_its_company(workers):
    alone = np.concatenate([tiny.embedder(1).embed([text]).vectors for text in TEXTS])
    together = tiny.embedder(workers).embed([*TEXTS, *reversed(TEXTS)]).vectors
    np.testing.assert_array_equal(together, np.concatenate([alone, alone[::-1]]))


def test_own_token_ids_give_the_texts_vector():
    ids = [tiny.OPENING, tiny.WORDS.index("the"), tiny.WORDS.index("food"), tiny.CLOSING]
    embedder = tiny.embedder()
    np.testing.assert_array_equal(embedder.embed([ids]).vectors, embedder.embed(["the food"]).vectors)


@pytest.mark.parametrize("dimensions", [None, 0, tiny.HIDDEN])
def test_absent_zero_and_native_dimensions_are_native(dimensions):
    embedder = tiny.embedder()
    np.testing.assert_array_equal(embedder.embed(TEXTS, dimensions).vectors, embedder.embed(TEXTS).vectors)


def test_fewer_dimensions_are_truncated_and_normalized_again():
    native, short = (tiny.embedder().embed(TEXTS, dimensions).vectors for dimensions in (None, 8))
    expected = native[:, :8] / np.linalg.norm(native[:, :8], axis=1, keepdims=True)
    np.testing.assert_allclose(short, expected, atol=1e-6)


@pytest.mark.parametrize("dimensions", [-1, tiny.HIDDEN + 1])
def test_impossible_dimensions_are_refused(dimensions):
    with pytest.raises(RequestError, match=f"not between 1 and {tiny.HIDDEN}") as refused:
        tiny.embedder().embed(TEXTS, dimensions)
    assert refused.value.param == "dimensions"


def test_pooling_and_normalization_are_the_manifests():
    raw = tiny.embedder(normalize=False).embed(TEXTS).vectors
    assert not np.allclose(np.linalg.norm(raw, axis=1), 1)
    assert not np.allclose(tiny.embedder(pooling="cls").embed(TEXTS).vectors, tiny.embedder().embed(TEXTS).vectors)


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("component", [np.nan, np.inf])
def test_neither_nan_nor_infinity_ever_leaves(monkeypatch, normalize, component):
    hidden_states = np.full((3, tiny.HIDDEN), component, np.float32)
    monkeypatch.setattr("handler.inference.InferenceSession.run", lambda *_: hidden_states)
    with pytest.raises(FloatingPointError):
        tiny.embedder(1, normalize=normalize).embed(["a"])


def test_files_that_cannot_be_loaded_are_one_clear_error():
    with pytest.raises(ArtifactError, match="model 'tiny' cannot be loaded"):
        Embedder(replace(tiny.artifacts(), model=b"not a graph"), Settings())
    with pytest.raises(ArtifactError, match="model 'tiny' cannot be loaded"):
        Embedder(replace(tiny.artifacts(), tokenizer=b"{}"), Settings())


def test_windows_are_averaged_by_their_tokens():
    embedder = tiny.embedder(Settings(long_input="window"))
    text = "a b c d e f g h i j k l m n o p q r s t"
    embeddings = embedder.embed([text, "a"])
    assert (embeddings.tokens, embeddings.long_inputs) == (16 + 8 + 3, 1)
    (hidden,) = [
        np.concatenate([embedder._session.run(window) for window in encoding.windows])
        for encoding in embedder._tokenizer.encode([text])
    ]
    mean = hidden.mean(axis=0)
    np.testing.assert_allclose(embeddings.vectors[0], mean / np.linalg.norm(mean), atol=1e-6)


def test_the_kind_of_input_chooses_the_models_prompt():
    embedder = tiny.embedder(1, prompts={"query": "the "})
    asked, plain = embedder.embed(["food"], kind="query").vectors, embedder.embed(["the food"]).vectors
    np.testing.assert_array_equal(asked, plain)
    for kind in (None, "passage"):
        np.testing.assert_array_equal(embedder.embed(["food"], kind=kind).vectors, embedder.embed(["food"]).vectors)
