"""The float32 graph with its matrix products and its vocabulary in int8.

Products become MatMulIntegerToFloat of uint8 activations and int8 weights. Weights have one scale per output channel
and keep seven bits (`reduce_range`): on processors without VNNI the products of uint8 and int8 are summed in pairs in
int16, which eight bits can overflow, and then the same text has another vector there.

Activations have one scale per tensor, and it is a constant. Measured from the tensor (dynamic quantization) it would be
that of all texts of a run, so that each text would have to run alone to keep its vector; a constant lets texts share a
run, and spares a pass over every tensor. Beyond the range that is represented values saturate, which is where the error
is smallest.

One scale per tensor loses what outlier channels cost: a channel of magnitude 28 among channels of magnitude 2 leaves
those four bits. They are tamed in one of two ways:

    equalised  divided by a power of two (exact in float32) before the product, with the row of the weight multiplied
               by the same, as in SmoothQuant (Xiao et al. 2022, arxiv.org/abs/2211.10438). SmoothQuant folds the
               division into the LayerNorm before; in BERT that output is also the residual, so it is a Mul of its own.
    split      after GELU a channel appears several times, each copy moved by one range: GELU(x), GELU(x - range), ...
               All saturate at the range, so that they sum to GELU(x) as far as their number reaches. A variant of
               outlier channel splitting (Zhao et al. 2019, arxiv.org/abs/1901.09504) that costs no node: the copies
               are columns of the product before.

Scales, factors and copies are those of a few that measure the smallest error in the products.
"""

import math
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper
from tqdm import tqdm

from model_artifacts.recipe.calibrate import CALIBRATION_TEXTS, observe
from model_artifacts.recipe.export import INPUT, MICROSOFT, Graph, assemble

Array = NDArray[np.float32]

WEIGHT_MAX = 63  # seven bits, sign included: see reduce_range above
WORD_MAX = 127  # the vocabulary is looked up, not multiplied: nothing can overflow
LEVELS = 255  # of a uint8 activation, above its zero point and below
THRESHOLDS = 2.0 ** np.arange(-0.5, 4.6, 0.5)  # magnitudes from which a channel counts as an outlier
WORTH_A_NODE = 0.9  # equalise a product's channels only if that leaves less than this share of its squared error
MOST_COPIES = 48  # of a product's channels: 3 % of the work at a width of 1536
GELU_LEAST = -0.17  # its minimum, at -0.75

SAMPLE = 1000  # tokens on which errors are measured


@dataclass(slots=True)
class Product:
    """A product with a constant: weight (in, out), bias (out)."""

    weight: Array
    bias: Array


@dataclass(frozen=True, slots=True)
class Input:
    """How what one or more products read becomes uint8: divided by `factors` (if any), by `scale`, plus `zero`."""

    scale: np.float32
    zero: np.uint8
    factors: Array | None = None

    def round(self, value: Array) -> Array:
        """Return what remains of a tensor after it was uint8."""
        divided = value if self.factors is None else value / self.factors
        rounded = np.clip(np.rint(divided / self.scale) + self.zero, 0, LEVELS) - self.zero
        remains: Array = rounded * self.scale
        return remains


def quantize(model: onnx.ModelProto, special: tuple[int, int], texts: int = CALIBRATION_TEXTS) -> onnx.ModelProto:
    """Quantize an exported graph, calibrated on random texts; `special` are the ids that open and close each."""
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
            inputs[value] = _equalise_outliers([products[name] for name in names], observed[value])

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
    """Quantize symmetrically: int8 within +-largest, and the float32 scale of each slice along `axis`."""
    scale = np.abs(value).max(axis=axis, keepdims=True) / np.float32(largest)
    scale = np.where(scale == 0, np.float32(1), scale)
    return np.rint(value / scale).astype(np.int8), scale


def _equalise_outliers(products: list[Product], values: Array) -> Input:
    """Choose the scale of what some products read, and the factors of its channels if that pays."""
    weight = np.concatenate([product.weight for product in products], axis=1)
    sample = _sample(values)
    magnitude = np.abs(values).max(axis=0)
    error, chosen = _best_scale(values, sample, weight, None)
    least = WORTH_A_NODE * error
    for threshold in THRESHOLDS:
        factors = np.exp2(np.rint(np.log2(np.maximum(1, magnitude / threshold)))).astype(np.float32)
        if factors.max() == 1:
            break  # nor will any channel exceed the higher thresholds
        error, equalised = _best_scale(values, sample, weight, factors)
        if error < least:
            least, chosen = error, equalised
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
    """Choose the scale of GELU's output and the copies of its channels, and make them.

    `inputs` are GELU's, the outputs of the product `before`.
    """
    sample, sampled_inputs, most = _sample(values), _sample(inputs), values.max(axis=0)
    exact = sample @ product.weight
    least = math.inf
    for scale in _scales(float(most.max() - GELU_LEAST) / LEVELS, octaves=4):
        candidate = Input(scale, np.uint8(math.ceil(-GELU_LEAST / scale)))
        reach = scale * (LEVELS - candidate.zero)
        further = np.maximum(np.ceil(most / reach).astype(int) - 1, 0)
        if further.sum() > MOST_COPIES:
            break  # a smaller scale needs more
        channels = np.repeat(np.arange(len(further)), further)
        moved = (reach * np.concatenate([np.arange(1, count + 1) for count in further])).astype(np.float32)
        copies = _gelu(sampled_inputs[:, channels] - moved)
        weight = np.concatenate([product.weight, product.weight[channels]])
        error = _squared_error(candidate.round(np.concatenate([sample, copies], axis=1)), weight, exact)
        if error < least:
            least, best = error, (candidate, channels, moved)
    chosen, channels, moved = best
    before.weight = np.concatenate([before.weight, before.weight[:, channels]], axis=1)
    before.bias = np.concatenate([before.bias, before.bias[channels] - moved])
    product.weight = np.concatenate([product.weight, product.weight[channels]])
    return chosen


def _scales(largest: float, octaves: int = 2) -> list[np.float32]:
    """Return scales from `largest` downward, powers of the fourth root of two: no last bit of a sum can move one."""
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


def _quantized_product(graph: Graph, node: onnx.NodeProto, product: Product, read: Input) -> None:
    """Put MatMulIntegerToFloat where a MatMul and the Add of its bias were; its input is quantized once for all."""
    name, value = node.name, node.input[0]
    rounded_input, scale, zero = f"{value}.rounded", f"{value}.scale", f"{value}.zero"
    if scale not in graph.initializers:
        if read.factors is not None:
            factors = graph.constant(f"{value}.factors", 1 / read.factors)
            value = graph.node("Mul", f"{value}.equalised", [value, factors])
        constants = [graph.constant(scale, np.array(read.scale)), graph.constant(zero, np.array(read.zero))]
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
    """Put an int8 vocabulary with one scale per word where the float32 one was: (vocabulary, hidden) by token id."""
    rounded, scale = round_to_int8(table, 1, WORD_MAX)
    words = graph.node("Gather", "words.rounded", [graph.constant("words.weight", rounded), INPUT])
    scales = graph.node("Gather", "words.scales", [graph.constant("words.scale", scale), INPUT])
    graph.node("Mul", "words", [graph.node("Cast", "words.float", [words], to=onnx.TensorProto.FLOAT), scales])
