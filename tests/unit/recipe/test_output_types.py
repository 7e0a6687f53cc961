from typing import get_args

import numpy as np
import pytest

from handler.artifacts.manifest import OutputDtype
from handler.embedding.pooling import l2_normalize
from handler.embedding.quantization import convert
from model_artifacts.recipe.output_types import calibrate, measure_loss, sizes
from model_artifacts.recipe.sts import Pairs

RANDOM = np.random.default_rng(0)
VECTORS = RANDOM.normal(size=(400, 96)).astype(np.float32)


def test_largest_component_of_the_calibration_vectors_becomes_127():
    scale = calibrate(VECTORS)["int8"]
    assert 127 / 6 < scale < 127 / 3  # of 400 x 96 normal numbers, the largest is about 4.3 standard deviations
    most = [np.abs(convert(l2_normalize(VECTORS[:, :size]), "int8", scale)).max() for size in sizes(VECTORS.shape[1])]
    assert max(most) == 127
    assert calibrate(3 * VECTORS) == {"int8": scale}


def test_sizes_are_the_models_own_and_the_smaller_ones():
    assert sizes(384) == (384, 256, 192, 128, 64, 32)
    assert sizes(96) == (96, 64, 32)
    assert sizes(12) == (12,)


@pytest.fixture(scope="module")
def pairs() -> Pairs:
    """Return pairs whose scores fall with the distance of their vectors, the right one being the left one moved."""
    names = [f"text {number}" for number in range(200)]
    distances = np.linspace(0, 3, 200)
    return Pairs(names, [f"{name}, moved" for name in names], 5 - 5 * distances / 3)


@pytest.fixture(scope="module")
def loss(pairs):
    moved = np.linspace(0, 3, 200)[:, None] * RANDOM.normal(size=(200, 96))
    vectors = np.concatenate([VECTORS[:200], VECTORS[:200] + moved]).astype(np.float32)
    return measure_loss(pairs, vectors, calibrate(VECTORS))


@pytest.mark.parametrize("score", ["spearman", "recall_at_10"])
def test_loss_has_every_type_and_size_and_grows_with_fewer_bits(loss, score):
    assert set(loss[score]) == set(get_args(OutputDtype))
    assert all(list(by_size) == ["96", "64", "32"] for by_size in loss[score].values())
    assert loss[score]["float"]["96"] == 0
    assert loss[score]["int8"] == loss[score]["uint8"]
    assert loss[score]["binary"] == loss[score]["ubinary"]
    assert abs(loss[score]["int8"]["96"]) < 0.005 < loss[score]["binary"]["32"]
    assert loss[score]["binary"]["96"] < loss[score]["binary"]["32"]
    assert 0.5 < loss["reference"][score] <= 1


def test_types_that_pack_bits_are_measured_where_they_can_be_asked_for(pairs):
    vectors = RANDOM.normal(size=(400, 100)).astype(np.float32)
    measured = measure_loss(pairs, vectors, {"int8": 26.0})["spearman"]
    assert list(measured["int8"]) == ["100", "64", "32"]
    assert list(measured["binary"]) == ["64", "32"]
