import math

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

from handler.embedding.inference import InferenceSession
from model_artifacts.recipe.calibrate import Observed
from model_artifacts.recipe.export import export
from model_artifacts.recipe.quantize import (
    LEVELS,
    Product,
    _equalize_outliers,
    _split_outliers,
    quantize,
)
from model_artifacts.recipe.source import Source
from tests import tiny

TEXT = np.array([[tiny.OPENING, 4, 5, 6, 7, 20, 21, tiny.CLOSING]]).T


@pytest.fixture(scope="module")
def quantized() -> onnx.ModelProto:
    return quantize(export(tiny.source()), tiny.SPECIAL, tiny.CALIBRATION_TEXTS, longest=tiny.MAX_TOKENS)


@pytest.fixture(scope="module")
def fine() -> onnx.ModelProto:
    return quantize(
        export(tiny.source()), tiny.SPECIAL, tiny.CALIBRATION_TEXTS, longest=tiny.MAX_TOKENS, tier="quality"
    )


@pytest.mark.parametrize(("tier", "products"), [("quantized", 6), ("fine", 12)])
def test_sums_of_two_weight_products_fit_in_int16(tier, products, request):
    model = request.getfixturevalue(tier)
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    nodes = [node for node in model.graph.node if node.op_type == "MatMulIntegerToFloat"]
    assert len(nodes) == products * tiny.LAYERS
    for node in nodes:
        weight = weights[node.input[1]]
        assert weight.dtype == np.int8
        even = np.pad(weight.astype(int), ((0, len(weight) % 2), (0, 0)))
        pairs = LEVELS * even.reshape(-1, 2, weight.shape[1])
        assert np.maximum(pairs, 0).sum(axis=1).max() < 2**15
        assert np.minimum(pairs, 0).sum(axis=1).min() >= -(2**15)
    assert max(np.abs(weights[node.input[1]].astype(int)).max() for node in nodes) > 100  # more than seven bits
    assert weights["words.weight"].dtype == np.int8


def test_quality_tier_has_a_fraction_of_the_error(quantized, fine):
    full = export(tiny.source())
    assert 1 - min_cosine(fine, full) < (1 - min_cosine(quantized, full)) / 2


def observed(values: NDArray[np.float32]) -> Observed:
    return Observed(values.min(axis=0), values.max(axis=0), values)


def min_cosine(first: onnx.ModelProto, second: onnx.ModelProto) -> float:
    """Return the lowest cosine, over the tokens of TEXT, between the hidden states of two graphs."""
    ours, theirs = (InferenceSession(model.SerializeToString()).run(TEXT)[:, 0] for model in (first, second))
    cosines = (ours * theirs).sum(axis=1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(theirs, axis=1)
    return float(cosines.min())


def test_hidden_states_stay_close_to_full_precision(quantized):
    assert min_cosine(quantized, export(tiny.source())) > 0.99


def test_activation_scales_are_constants(quantized):
    assert not [node for node in quantized.graph.node if "Dynamic" in node.op_type]
    constants = {tensor.name for tensor in quantized.graph.initializer}
    for node in quantized.graph.node:
        if node.op_type == "QuantizeLinear":
            assert set(node.input[1:]) <= constants


def test_quantize_is_deterministic(quantized):
    again = quantize(export(tiny.source()), tiny.SPECIAL, tiny.CALIBRATION_TEXTS, longest=tiny.MAX_TOKENS)
    assert again.SerializeToString(deterministic=True) == quantized.SerializeToString(deterministic=True)


def with_outliers() -> Source:
    """Return the tiny model with one outlier channel in the first layer's intermediate activation."""
    source = tiny.source()
    source.weights["encoder.layer.0.intermediate.dense.bias"][5] = 60
    return source


def test_outlier_channel_after_gelu_is_split_without_changing_the_result():
    full = export(with_outliers())
    small = quantize(full, tiny.SPECIAL, tiny.CALIBRATION_TEXTS, longest=tiny.MAX_TOKENS)
    shapes = {tensor.name: tuple(tensor.dims) for tensor in small.graph.initializer}
    copies = shapes["layer.0.up.weight"][1] - 4 * tiny.HIDDEN
    assert copies > 0
    assert shapes["layer.0.down.weight"] == (4 * tiny.HIDDEN + copies, tiny.HIDDEN)
    assert min_cosine(small, full) > 0.99


def test_equalization_preserves_the_product():
    random = np.random.default_rng(1)
    value = random.normal(size=(50, 8)).astype(np.float32)
    value[:, 3] *= 40
    weight = random.normal(size=(8, 6)).astype(np.float32)
    product = Product(weight, np.zeros(6, np.float32))
    activation = _equalize_outliers([product], observed(value))
    assert activation.factors is not None
    assert activation.factors[3] > 1
    np.testing.assert_array_equal(np.exp2(np.rint(np.log2(activation.factors))), activation.factors)
    np.testing.assert_allclose((value / activation.factors) @ product.weight, value @ weight, rtol=1e-4, atol=1e-4)


def test_product_without_outliers_is_not_equalized():
    random = np.random.default_rng(2)
    product = Product(random.normal(size=(8, 6)).astype(np.float32), np.zeros(6, np.float32))
    assert (
        _equalize_outliers([product], observed(random.uniform(-1, 1, size=(50, 8)).astype(np.float32))).factors is None
    )


def test_products_of_one_input_share_their_equalization_factors():
    random = np.random.default_rng(3)
    value = random.normal(size=(50, 8)).astype(np.float32)
    value[:, 3] *= 40
    products = [Product(random.normal(size=(8, 6)).astype(np.float32), np.zeros(6, np.float32)) for _ in range(3)]
    before = [product.weight for product in products]
    activation = _equalize_outliers(products, observed(value))
    assert activation.factors is not None
    for product, weight in zip(products, before, strict=True):
        np.testing.assert_array_equal(product.weight, weight * activation.factors[:, None])


def test_copies_of_a_split_channel_add_up_to_its_value():
    inputs = np.random.default_rng(4).normal(size=(200, 8)).astype(np.float32)
    inputs[:, 5] = np.linspace(0, 30, 200)
    before = Product(np.eye(8, dtype=np.float32), np.zeros(8, np.float32))
    product = Product(np.eye(8, dtype=np.float32), np.zeros(8, np.float32))
    values = gelu(inputs)
    activation = _split_outliers(product, observed(values), before, inputs)
    copied = inputs @ before.weight + before.bias
    assert copied.shape[1] > 8
    restored = activation.round(gelu(copied)) @ product.weight
    assert np.abs(restored - values).max() < 0.3  # the error from GELU's dip below zero at the start of each copy
    plain_step = (values.max() + 0.17) / LEVELS
    assert activation.scale < 0.6 * plain_step


def gelu(value: NDArray[np.float32]) -> NDArray[np.float32]:
    result: NDArray[np.float32] = value * (1 + np.vectorize(math.erf)(value / math.sqrt(2))) / 2
    return result.astype(np.float32)
