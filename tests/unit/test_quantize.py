import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from handler.inference import InferenceSession
from model_artifacts.recipe.export import export
from model_artifacts.recipe.quantize import WEIGHT_MAX, Product, _tame_outliers, quantize, round_to_int8
from model_artifacts.recipe.source import Source
from tests import tiny

TEXT = [tiny.OPENING, 4, 5, 6, 7, 20, 21, tiny.CLOSING]


@pytest.fixture(scope="module")
def quantized() -> onnx.ModelProto:
    return quantize(export(tiny.source()), tiny.SPECIAL, tiny.CALIBRATION_TEXTS)


def test_no_weight_can_overflow_a_pair_sum_in_int16(quantized):
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in quantized.graph.initializer}
    products = [node for node in quantized.graph.node if node.op_type == "DynamicQuantizeMatMul"]
    assert len(products) == 4 * tiny.LAYERS
    for product in products:
        weight = weights[product.input[1]]
        assert weight.dtype == np.int8
        assert np.abs(weight).max() == WEIGHT_MAX
        assert 2 * 255 * int(np.abs(weight).max()) < 2**15
    assert weights["words.weight"].dtype == np.int8


def test_hidden_states_stay_close_to_full_precision(quantized):
    full = InferenceSession(export(tiny.source()).SerializeToString()).run(TEXT)
    rounded = InferenceSession(quantized.SerializeToString()).run(TEXT)
    cosines = (full * rounded).sum(axis=1) / np.linalg.norm(full, axis=1) / np.linalg.norm(rounded, axis=1)
    assert cosines.min() > 0.99


def test_quantizing_twice_gives_the_same_bytes(quantized):
    again = quantize(export(tiny.source()), tiny.SPECIAL, tiny.CALIBRATION_TEXTS)
    assert again.SerializeToString(deterministic=True) == quantized.SerializeToString(deterministic=True)


def with_outliers() -> Source:
    """Return the tiny model with one loud channel before the first layer's second product."""
    source = tiny.source()
    source.weights["encoder.layer.0.intermediate.dense.bias"][5] = 60
    return source


def test_an_outlier_channel_after_gelu_is_split_and_the_graph_still_computes_the_encoder():
    full = export(with_outliers())
    small = quantize(full, tiny.SPECIAL, tiny.CALIBRATION_TEXTS)
    shapes = {tensor.name: tuple(tensor.dims) for tensor in small.graph.initializer}
    copies = shapes["layer.0.up.weight"][1] - 4 * tiny.HIDDEN
    assert copies > 0
    assert shapes["layer.0.down.weight"] == (4 * tiny.HIDDEN + copies, tiny.HIDDEN)
    ours, theirs = (InferenceSession(model.SerializeToString()).run(TEXT) for model in (small, full))
    cosines = (ours * theirs).sum(axis=1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(theirs, axis=1)
    assert cosines.min() > 0.99


def test_an_equalised_product_is_the_same_product():
    random = np.random.default_rng(1)
    value = random.normal(size=(50, 8)).astype(np.float32)
    value[:, 3] *= 40
    weight = random.normal(size=(8, 6)).astype(np.float32)
    product = Product(weight, np.zeros(6, np.float32))
    _tame_outliers(product, [value], before=None)
    assert product.factors is not None
    assert product.factors[3] > 1
    np.testing.assert_array_equal(np.exp2(np.rint(np.log2(product.factors))), product.factors)
    np.testing.assert_allclose((value / product.factors) @ product.weight, value @ weight, rtol=1e-4, atol=1e-4)


def test_a_product_without_outliers_is_left_alone():
    random = np.random.default_rng(2)
    product = Product(random.normal(size=(8, 6)).astype(np.float32), np.zeros(6, np.float32))
    _tame_outliers(product, [random.uniform(-1, 1, size=(50, 8)).astype(np.float32)], before=None)
    assert product.factors is None


def test_rounding_is_within_half_a_step_and_survives_an_empty_slice():
    value = np.array([[0, 1, -2], [0, 0.5, 1]], np.float32)
    rounded, scale = round_to_int8(value, axis=0, largest=63)
    assert scale.shape == (1, 3)
    assert (np.abs(rounded * scale - value) <= scale / 2).all()
