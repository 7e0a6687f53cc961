from dataclasses import replace
from typing import NoReturn

import numpy as np
import pytest
from numpy.typing import NDArray

from handler.embedding.embedder import Embedder, _micro_batches
from handler.embedding.pooling import HiddenStates
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
@pytest.mark.parametrize("tokens", range(1, tiny.MAX_TOKENS + 1))
def test_a_vector_never_depends_on_the_others_of_its_run(tokens, workers):
    together, alone = tiny.embedder(workers), tiny.embedder(1)
    texts = np.random.default_rng(tokens).integers(4, len(tiny.WORDS), (41, tokens)).tolist()
    expected = np.concatenate([alone.embed([text]).vectors for text in texts])
    np.testing.assert_array_equal(together.embed(texts).vectors, expected)


@pytest.mark.parametrize(
    ("lengths", "workers", "runs"),
    [
        ([5], 2, [1]),
        ([5, 5], 2, [1, 1]),  # rather one for each worker than both in one run
        ([5, 5], 1, [2]),
        ([256, 256, 16, 16, 3], 1, [1, 1, 2, 1]),  # of one length each
        ([2] * 1000, 2, [128] * 7 + [104]),
    ],
)
def test_runs_are_of_one_length_and_share_the_work(lengths, workers, runs):
    slices = _micro_batches(lengths, workers)
    assert [part.stop - part.start for part in slices] == runs
    assert [index for part in slices for index in range(part.start, part.stop)] == list(range(len(lengths)))


def test_equal_inputs_are_inferred_once(monkeypatch):
    embedder = tiny.embedder(1)
    seen = []
    run = embedder._session.run

    def observed(token_ids: NDArray[np.int64]) -> HiddenStates:
        seen.append(token_ids.shape)
        return run(token_ids)

    monkeypatch.setattr(embedder._session, "run", observed)
    embeddings = embedder.embed(["a", "the food", "a", "A", "a"])
    assert sorted(seen) == [(3, 1), (4, 1)]
    assert embeddings.tokens == 4 * 3 + 4
    np.testing.assert_array_equal(embeddings.vectors[[0, 2, 3]], embeddings.vectors[[4, 4, 4]])


@pytest.mark.parametrize("workers", [1, 2])
def test_a_failing_run_ends_the_request_and_the_next_is_right(monkeypatch, workers):
    embedder = tiny.embedder(workers)
    expected = embedder.embed(TEXTS).vectors
    left = []

    def fail(token_ids) -> NoReturn:
        left.append(token_ids)
        raise MemoryError

    with monkeypatch.context() as broken:
        broken.setattr(embedder._session, "run", fail)
        with pytest.raises(MemoryError):
            embedder.embed(TEXTS)
    assert len(left) <= workers
    np.testing.assert_array_equal(embedder.embed(TEXTS).vectors, expected)


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
    hidden_states = np.full((3, 1, tiny.HIDDEN), component, np.float32)
    monkeypatch.setattr("handler.embedding.inference.InferenceSession.run", lambda *_: hidden_states)
    with pytest.raises(FloatingPointError):
        tiny.embedder(1, normalize=normalize).embed(["a"])


def test_files_that_cannot_be_loaded_are_one_clear_error():
    with pytest.raises(ArtifactError, match="model 'tiny' cannot be loaded"):
        Embedder(replace(tiny.artifacts(), model=b"not a graph"), Settings())
    with pytest.raises(ArtifactError, match="model 'tiny' cannot be loaded"):
        Embedder(replace(tiny.artifacts(), tokenizer=b"{}"), Settings())


def test_a_graph_of_another_layout_is_refused():
    texts_first = tiny.artifacts().model.replace(b"\n\x08\x12\x06tokens", b"\n\x08\x12\x06tokenz")
    with pytest.raises(ArtifactError, match=r"'tiny' cannot be loaded: its input has the layout .*make model"):
        Embedder(replace(tiny.artifacts(), model=texts_first), Settings())


def test_windows_are_averaged_by_their_tokens():
    embedder = tiny.embedder(Settings(long_input="window"))
    text = "a b c d e f g h i j k l m n o p q r s t"
    embeddings = embedder.embed([text, "a"])
    assert (embeddings.tokens, embeddings.long_inputs) == (16 + 8 + 3, 1)
    (hidden,) = [
        np.concatenate([embedder._session.run(np.array([window]).T) for window in encoding.windows])
        for encoding in embedder._tokenizer.encode([text])
    ]
    mean = hidden[:, 0].mean(axis=0)
    np.testing.assert_allclose(embeddings.vectors[0], mean / np.linalg.norm(mean), atol=1e-6)


def test_the_kind_of_input_chooses_the_models_prompt():
    embedder = tiny.embedder(1, prompts={"query": "the "})
    asked, plain = embedder.embed(["food"], prompt_name="query").vectors, embedder.embed(["the food"]).vectors
    np.testing.assert_array_equal(asked, plain)
    unprompted = embedder.embed(["food"]).vectors
    for name in (None, "passage"):
        np.testing.assert_array_equal(embedder.embed(["food"], prompt_name=name).vectors, unprompted)
