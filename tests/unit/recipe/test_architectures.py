"""Every architecture at random weights: our graph against transformers, and the int8 model as it is served."""

from dataclasses import replace

import numpy as np
import onnx
import pytest

from handler.embedding.embedder import Embedder
from handler.embedding.inference import InferenceSession
from handler.settings import Settings
from model_artifacts.recipe.export import export
from model_artifacts.recipe.quantize import quantize
from model_artifacts.recipe.source import Source
from tests import tiny
from tests.architectures import CLOSING, CONFIGS, OPENING, TEXTS, decode, read_source, references, token_ids

SETTINGS = Settings(workers=2, long_input="truncate", auth_mode="none")
CALIBRATION_TEXTS = 16


@pytest.fixture(scope="module", params=CONFIGS)
def source(request, tmp_path_factory) -> Source:
    return read_source(tmp_path_factory.mktemp("architectures"), request.param)


@pytest.fixture(scope="module")
def full(source) -> onnx.ModelProto:
    return export(source)


@pytest.fixture(scope="module")
def served(source, full) -> Embedder:
    return Embedder(
        tiny.pack(source, quantize(full, (OPENING, CLOSING), texts=CALIBRATION_TEXTS, longest=source.max_tokens)),
        SETTINGS,
    )


def test_hidden_states_are_those_of_transformers(source):
    session = InferenceSession(export(replace(source, dense=None)).SerializeToString())
    for length, encoded in references(source.id)["hidden"].items():
        ids, expected = token_ids(int(length)), decode(encoded)
        rows = np.linspace(0, len(ids) - 1, len(expected)).astype(int)
        np.testing.assert_allclose(session.run(ids[:, None])[rows, 0], expected, atol=1e-4)


def test_vectors_are_those_of_sentence_transformers(source, full):
    vectors = Embedder(tiny.pack(source, full), SETTINGS).embed(TEXTS).vectors
    expected = decode(references(source.id)["vectors"]).reshape(vectors.shape)
    np.testing.assert_allclose(vectors, expected, atol=1e-5)


def test_the_int8_model_is_close_to_full_precision(source, served):
    vectors = served.embed(TEXTS).vectors
    expected = decode(references(source.id)["vectors"]).reshape(vectors.shape)
    assert (vectors * expected).sum(axis=1).min() > 0.95


def test_vectors_do_not_depend_on_the_batch(served):
    texts = [*TEXTS, *(text.replace("good", "the") for text in TEXTS), *("abcdefgh")]
    together = served.embed(texts).vectors
    for text, vector in zip(texts, together, strict=True):
        np.testing.assert_array_equal(served.embed([text]).vectors[0], vector)
