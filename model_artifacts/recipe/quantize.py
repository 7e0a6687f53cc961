"""Quantizes the matrix products and the vocabulary of the float32 graph to int8.

Products become MatMulIntegerToFloat of uint8 activations and int8 weights. Weights have one scale per output channel
and seven bits (`reduce_range`): processors without VNNI sum pairs of uint8 x int8 products in int16, which eight bits
can overflow, so the same text would have another vector there.

Activations have one constant scale per tensor. Dynamic quantization computes the scale from the tensor, which holds
all texts of a batch, so each text would have to run alone to keep its vector. With a constant scale texts can share a
batch, and a pass over every tensor is saved. Values outside the represented range saturate; the range is chosen for
the smallest error.

With one scale per tensor, outlier channels cost the others precision: next to a channel of magnitude 28, channels of
magnitude 2 keep four bits. Outlier channels are handled in one of two ways:

    equalized  The channel is divided by a power of two (exact in float32) before the product, and its row of the weight
               is multiplied by it, as in SmoothQuant (Xiao et al. 2022, arxiv.org/abs/2211.10438). SmoothQuant folds
               the division into the preceding LayerNorm; in BERT its output is also the residual, so the division is
               a separate Mul node.
    split      After GELU a channel is repeated, each copy shifted by one range: GELU(x), GELU(x - range), ... All
               copies saturate at the range, so their sum is GELU(x) up to the number of copies times the range. This
               is a variant of outlier channel splitting (Zhao et al. 2019, arxiv.org/abs/1901.09504) that adds no
               node: the copies are columns of the preceding product.

Of several candidate scales, factors and numbers of copies, those with the smallest error in the products are used.
"""

import math
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper
from tqdm import tqdm

from model_artifacts.recipe.calibrate import CALIBRATION_TEXTS, observe
from model_artifacts.recipe.graph import INPUT, MICROSOFT, Graph, assemble

Array = NDArray[np.float32]

WEIGHT_MAX = 63  # seven bits including the sign, see above
WORD_MAX = 127  # the vocabulary is looked up and not multiplied, so nothing can overflow
LEVELS = 255  # steps between the smallest and the largest uint8 activation
THRESHOLDS = 2.0 ** np.arange(-0.5, 4.6, 0.5)  # magnitudes from which a channel counts as an outlier
MAX_ERROR_RATIO = 0.9  # equalize only if it reduces the squared error of the product to less than this share
MAX_COPIES = 48  # of a product's channels: 3 % more work at a width of 1536
GELU_MIN = -0.17  # GELU(-0.75)
SAMPLE = 1000  # the number of tokens on which errors are measured


@dataclass(slots=True)
class Product:
    """A matrix product with constant operands: weight (in, out), bias (out)."""

    weight: Array
    bias: Array


@dataclass(frozen=True, slots=True)
class Input:
    """The quantization of the input of one or more products: round(value / factors / scale) + zero."""

    scale: np.float32
    zero: np.uint8
    factors: Array | None = None

    def round(self, value: Array) -> Array:
        """Round a tensor to the values that its quantization can represent."""
        divided = value if self.factors is None else value / self.factors
        rounded = np.clip(np.rint(divided / self.scale) + self.zero, 0, LEVELS) - self.zero
        restored: Array = rounded * self.scale
        return restored


def quantize(model: onnx.ModelProto, special: tuple[int, int], texts: int = CALIBRATION_TEXTS) -> onnx.ModelProto:
    """Quantize an exported graph with random texts; `special` are the ids of the opening and closing tokens."""
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    nodes = {node.name: node for node in model.graph.node}
    products = {
        name: Product(weights[f"{name}.weight"], weights[f"{name}.bias"]) for name in nodes if f"{name}.bias" in weights
    }
    readers: dict[str, list[str]] = {}
    for name in products:
        readers.setdefault(nodes[name].input[0], []).append(name)
    gelus = {value: nodes[value].input[0] for value in readers if nodes[value].op_type == "Gelu"}
    observed = observe(model, [*readers, *gelus.values()], special, weights, texts)

    inputs = {}
    for value, names in tqdm(readers.items(), desc="  products", leave=False, disable=None):
        if value in gelus:
            before = products[gelus[value].removesuffix(".biased")]
            inputs[value] = _split_outliers(products[names[0]], observed[value], before, observed[gelus[value]])
        else:
            inputs[value] = _equalize_outliers([products[name] for name in names], observed[value])

    graph = Graph()
    for node in model.graph.node:
        if node.name in products:
            _quantized_product(graph, node, products[node.name], inputs[node.input[0]])
        elif node.name == "words":
            _quantized_words(graph, weights["words.weight"])
        elif node.name.removesuffix(".biased") not in products:
            graph.nodes.append(node)
            for name in filter(weights.__contains__, node.input):
                graph.constant(name, weights[name])
    return assemble(graph)


def round_to_int8(value: Array, axis: int, largest: int) -> tuple[NDArray[np.int8], Array]:
    """Quantize symmetrically; return int8 within +-largest, and the float32 scale of each slice along `axis`."""
    scale = np.abs(value).max(axis=axis, keepdims=True) / np.float32(largest)
    scale = np.where(scale == 0, np.float32(1), scale)
    return np.rint(value / scale).astype(np.int8), scale


def _equalize_outliers(products: list[Product], values: Array) -> Input:
    """Choose the scale of the input of some products, and factors for its channels if they reduce the error enough."""
    weight = np.concatenate([product.weight for product in products], axis=1)
    sample = _sample(values)
    magnitude = np.abs(values).max(axis=0)
    error, chosen = _best_scale(values, sample, weight, None)
    smallest = MAX_ERROR_RATIO * error
    for threshold in THRESHOLDS:
        factors = np.exp2(np.rint(np.log2(np.maximum(1, magnitude / threshold)))).astype(np.float32)
        if factors.max() == 1:
            break  # no channel exceeds the higher thresholds either
        error, equalized = _best_scale(values, sample, weight, factors)
        if error < smallest:
            smallest, chosen = error, equalized
    if chosen.factors is not None:
        for product in products:
            product.weight = product.weight * chosen.factors[:, None]
    return chosen


def _best_scale(values: Array, sample: Array, weight: Array, factors: Array | None) -> tuple[float, Input]:
    divided = values if factors is None else values / factors
    low, high = min(float(divided.min()), 0.0), max(float(divided.max()), 0.0)
    zero = np.uint8(round(-low / (high - low) * LEVELS))
    scaled = weight if factors is None else weight * factors[:, None]
    candidates = [Input(scale, zero, factors) for scale in _scales((high - low) / LEVELS)]
    errors = [_squared_error(candidate.round(sample), scaled, sample @ weight) for candidate in candidates]
    best = int(np.argmin(errors))
    return errors[best], candidates[best]


def _split_outliers(product: Product, values: Array, before: Product, inputs: Array) -> Input:
    """Choose the scale of GELU's output and the number of copies per channel, and add the copies to both products.

    `values` are GELU's outputs, `inputs` its inputs, which are the outputs of the product `before`.
    """
    sample, sampled_inputs, maxima = _sample(values), _sample(inputs), values.max(axis=0)
    exact = sample @ product.weight
    smallest = math.inf
    for scale in _scales(float(maxima.max() - GELU_MIN) / LEVELS, octaves=4):
        candidate = Input(scale, np.uint8(math.ceil(-GELU_MIN / scale)))
        reach = scale * (LEVELS - candidate.zero)
        counts = np.maximum(np.ceil(maxima / reach).astype(int) - 1, 0)
        if counts.sum() > MAX_COPIES:
            break  # smaller scales need more copies
        channels = np.repeat(np.arange(len(counts)), counts)
        shifts = (reach * np.concatenate([np.arange(1, count + 1) for count in counts])).astype(np.float32)
        copies = _gelu(sampled_inputs[:, channels] - shifts)
        weight = np.concatenate([product.weight, product.weight[channels]])
        error = _squared_error(candidate.round(np.concatenate([sample, copies], axis=1)), weight, exact)
        if error < smallest:
            smallest, best = error, (candidate, channels, shifts)
    chosen, channels, shifts = best
    before.weight = np.concatenate([before.weight, before.weight[:, channels]], axis=1)
    before.bias = np.concatenate([before.bias, before.bias[channels] - shifts])
    product.weight = np.concatenate([product.weight, product.weight[channels]])
    return chosen


def _scales(largest: float, octaves: int = 2) -> list[np.float32]:
    """Return scales from `largest` downward: powers of 2 ** 0.25, which the last bit of a sum does not affect."""
    top = math.ceil(4 * math.log2(largest))
    return [np.float32(2.0 ** (step / 4)) for step in range(top, top - 4 * octaves, -1)]


def _sample(values: Array) -> Array:
    return values[np.random.default_rng(0).permutation(len(values))[:SAMPLE]]


def _squared_error(rounded_inputs: Array, weight: Array, exact: Array) -> float:
    rounded, scale = round_to_int8(weight, 0, WEIGHT_MAX)
    return float(((rounded_inputs @ (rounded * scale) - exact) ** 2).sum())


def _gelu(value: Array) -> Array:
    erf = np.vectorize(math.erf, otypes=[np.float32])
    result: Array = value * (1 + erf(value / math.sqrt(2))) / 2
    return result


def _quantized_product(graph: Graph, node: onnx.NodeProto, product: Product, quantization: Input) -> None:
    """Add MatMulIntegerToFloat instead of MatMul and Add of the bias; products with the same input quantize it once."""
    name, value = node.name, node.input[0]
    rounded_input, scale, zero = f"{value}.rounded", f"{value}.scale", f"{value}.zero"
    if scale not in graph.initializers:
        if quantization.factors is not None:
            factors = graph.constant(f"{value}.factors", 1 / quantization.factors)
            value = graph.node("Mul", f"{value}.equalised", [value, factors])  # the name is part of the model's digest
        constants = [
            graph.constant(scale, np.array(quantization.scale)),
            graph.constant(zero, np.array(quantization.zero)),
        ]
        graph.node("QuantizeLinear", rounded_input, [value, *constants])
    rounded, column_scales = round_to_int8(product.weight, 0, WEIGHT_MAX)
    inputs = [
        rounded_input,
        graph.constant(f"{name}.weight", rounded),
        scale,
        graph.constant(f"{name}.scale", column_scales[0]),
        zero,
        "",  # the weights' zero point is zero
        graph.constant(f"{name}.bias", product.bias),
    ]
    graph.node("MatMulIntegerToFloat", f"{name}.biased", inputs, domain=MICROSOFT)


def _quantized_words(graph: Graph, table: Array) -> None:
    """Replace the float32 vocabulary (vocabulary, hidden) by an int8 one with one scale per token."""
    rounded, scale = round_to_int8(table, 1, WORD_MAX)
    words = graph.node("Gather", "words.rounded", [graph.constant("words.weight", rounded), INPUT])
    scales = graph.node("Gather", "words.scales", [graph.constant("words.scale", scale), INPUT])
    graph.node("Mul", "words", [graph.node("Cast", "words.float", [words], to=onnx.TensorProto.FLOAT), scales])
