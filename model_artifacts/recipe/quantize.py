"""Quantizes the matrix products and the vocabulary of the float32 graph to int8.

Products become MatMulIntegerToFloat of uint8 activations and int8 weights (rounding.py). The tier `quality` gives
activations sixteen bits, as two products of the same weights: it takes twice the time.

Activations have one constant scale per tensor. Dynamic quantization computes the scale from the tensor, which holds
all texts of a batch, so each text would have to run alone to keep its vector. With a constant scale texts can share a
batch, and a pass over every tensor is saved. Values out of the represented range saturate, for the smallest error.

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
from typing import Literal

import numpy as np
import onnx
from onnx import numpy_helper
from tqdm import tqdm

from model_artifacts.recipe.calibrate import CALIBRATION_TEXTS, Array, Observed, observe, random_texts
from model_artifacts.recipe.graph import INPUT, MICROSOFT, Graph, assemble
from model_artifacts.recipe.rounding import round_weight, round_words

Tier = Literal["fast", "quality"]
LEVELS = 255  # steps between the smallest and the largest uint8 activation
THRESHOLDS = 2.0 ** np.arange(-0.5, 4.6, 0.5)  # magnitudes from which a channel counts as an outlier
MAX_ERROR_RATIO = 0.9  # equalize only if it reduces the squared error of the product to less than this share
MAX_COPIES = 48  # of a product's channels: 3 % more work at a width of 1536
GELU_MIN = -0.17  # GELU(-0.75)


@dataclass(slots=True)
class Product:
    """A matrix product with constant operands: weight (in, out), bias (out)."""

    weight: Array
    bias: Array


@dataclass(frozen=True, slots=True)
class Input:
    """The quantization of products' input: round(value / factors / scale) + zero; if `fine`, also of the rest."""

    scale: np.float32
    zero: np.uint8
    factors: Array | None = None
    fine: bool = False

    def round(self, value: Array) -> Array:
        """Round a tensor to the values that its quantization can represent."""
        divided = value if self.factors is None else value / self.factors
        rounded = np.clip(np.rint(divided / self.scale) + self.zero, 0, LEVELS) - self.zero
        restored: Array = rounded * self.scale
        return restored


def quantize(
    model: onnx.ModelProto,
    special: tuple[int, int],
    texts: int = CALIBRATION_TEXTS,
    *,
    longest: int,
    tier: Tier = "fast",
) -> onnx.ModelProto:
    """Quantize an exported graph, with random texts of up to the `longest` number of tokens that the model reads.

    `special` are the ids of the opening and closing tokens.
    """
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    nodes = {node.name: node for node in model.graph.node}
    products = {
        name: Product(weights[f"{name}.weight"], weights[f"{name}.bias"]) for name in nodes if f"{name}.bias" in weights
    }
    readers: dict[str, list[str]] = {}
    for name in products:
        readers.setdefault(nodes[name].input[0], []).append(name)
    gelus = {value: nodes[value].input[0] for value in readers if nodes[value].op_type == "Gelu"}
    random = random_texts(texts, longest, len(weights["words.weight"]), special)
    observed = observe(model, [*readers, *gelus.values()], random)

    inputs = {}
    for value, names in tqdm(readers.items(), desc="  products", leave=False, disable=None):
        if tier == "quality":
            inputs[value] = _fine(observed[value])
        elif value in gelus:
            before = products[gelus[value].removesuffix(".biased")]
            inputs[value] = _split_outliers(products[names[0]], observed[value], before, observed[gelus[value]].sample)
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


def _fine(values: Observed) -> Input:
    """Return sixteen bits for an input, so that outliers need no other treatment; they cover twice its range."""
    low, high = min(float(values.lowest.min()), 0.0), max(float(values.highest.max()), 0.0)
    (scale,) = _scales(2 * (high - low) / LEVELS)[:1]
    return Input(scale, np.uint8(round(-low / (high - low) * LEVELS)), fine=True)


def _equalize_outliers(products: list[Product], values: Observed) -> Input:
    """Choose the scale of the input of some products, and factors for its channels if they reduce the error enough."""
    weight = np.concatenate([product.weight for product in products], axis=1)
    magnitude = np.maximum(np.abs(values.lowest), np.abs(values.highest))
    error, chosen = _best_scale(values, weight, None)
    smallest = MAX_ERROR_RATIO * error
    for threshold in THRESHOLDS:
        factors = np.exp2(np.rint(np.log2(np.maximum(1, magnitude / threshold)))).astype(np.float32)
        if factors.max() == 1:
            break  # no channel exceeds the higher thresholds either
        error, equalized = _best_scale(values, weight, factors)
        if error < smallest:
            smallest, chosen = error, equalized
    if chosen.factors is not None:
        for product in products:
            product.weight = product.weight * chosen.factors[:, None]
    return chosen


def _best_scale(values: Observed, weight: Array, factors: Array | None) -> tuple[float, Input]:
    divisors = np.float32(1) if factors is None else factors
    low, high = min(float((values.lowest / divisors).min()), 0.0), max(float((values.highest / divisors).max()), 0.0)
    zero = np.uint8(round(-low / (high - low) * LEVELS))
    rounded = _restored(weight if factors is None else weight * factors[:, None])
    exact = values.sample @ weight
    candidates = [Input(scale, zero, factors) for scale in _scales((high - low) / LEVELS)]
    errors = [_squared_error(candidate.round(values.sample), rounded, exact) for candidate in candidates]
    best = int(np.argmin(errors))
    return errors[best], candidates[best]


def _split_outliers(product: Product, values: Observed, before: Product, inputs: Array) -> Input:
    """Choose the scale of GELU's output and the number of copies per channel, and add the copies to both products.

    `values` are GELU's outputs, `inputs` the sample of its inputs, which are the outputs of the product `before`.
    """
    sample, maxima = values.sample, values.highest
    exact, rounded = sample @ product.weight, _restored(product.weight)
    smallest = math.inf
    for scale in _scales(float(maxima.max() - GELU_MIN) / LEVELS, octaves=4):
        candidate = Input(scale, np.uint8(math.ceil(-GELU_MIN / scale)))
        reach = scale * (LEVELS - candidate.zero)
        counts = np.maximum(np.ceil(maxima / reach).astype(int) - 1, 0)
        if counts.sum() > MAX_COPIES:
            break  # smaller scales need more copies
        channels = np.repeat(np.arange(len(counts)), counts)
        shifts = (reach * np.concatenate([np.arange(1, count + 1) for count in counts])).astype(np.float32)
        copied = np.concatenate([sample, _gelu(inputs[:, channels] - shifts)], axis=1)
        error = _squared_error(candidate.round(copied), np.concatenate([rounded, rounded[channels]]), exact)
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


def _restored(weight: Array) -> Array:
    """Return a weight as its quantization represents it."""
    rounded, scales = round_weight(weight)
    restored: Array = rounded * scales
    return restored


def _squared_error(rounded_inputs: Array, weight: Array, exact: Array) -> float:
    return float(((rounded_inputs @ weight - exact) ** 2).sum())


def _gelu(value: Array) -> Array:
    erf = np.vectorize(math.erf, otypes=[np.float32])
    result: Array = value * (1 + erf(value / math.sqrt(2))) / 2
    return result


def _quantized_product(graph: Graph, node: onnx.NodeProto, product: Product, quantization: Input) -> None:
    """Add MatMulIntegerToFloat instead of MatMul and Add of the bias; products with the same input quantize it once."""
    name, value = node.name, node.input[0]
    if f"{value}.scale" not in graph.initializers:
        _quantized_input(graph, value, quantization)
    rounded, column_scales = round_weight(product.weight)
    weight, scales = graph.constant(f"{name}.weight", rounded), graph.constant(f"{name}.scale", column_scales)
    bias = graph.constant(f"{name}.bias", product.bias)

    def multiply(output: str, part: str, *bias: str) -> str:
        # The empty name stands for the weights' zero point, which is zero.
        inputs = [f"{part}.rounded", weight, f"{part}.scale", scales, f"{part}.zero", "", *bias]
        return graph.node("MatMulIntegerToFloat", output, inputs, domain=MICROSOFT)

    if not quantization.fine:
        multiply(f"{name}.biased", value, bias)
        return
    parts = [multiply(f"{name}.coarse", value, bias), multiply(f"{name}.fine", f"{value}.rest")]
    graph.node("Add", f"{name}.biased", parts)


def _quantized_input(graph: Graph, value: str, quantization: Input) -> None:
    """Add what rounds the input of products to eight bits, and to another eight if it is fine."""

    def round_part(name: str, tensor: str, scale: np.float32, zero: np.uint8) -> list[str]:
        constants = [graph.constant(f"{name}.scale", np.array(scale)), graph.constant(f"{name}.zero", np.array(zero))]
        return [graph.node("QuantizeLinear", f"{name}.rounded", [tensor, *constants]), *constants]

    divided = value
    if quantization.factors is not None:
        factors = graph.constant(f"{value}.factors", 1 / quantization.factors)
        divided = graph.node("Mul", f"{value}.equalised", [value, factors])  # the name is part of the model's digest
    rounded = round_part(value, divided, quantization.scale, quantization.zero)
    if quantization.fine:
        restored = graph.node("DequantizeLinear", f"{value}.restored", rounded)
        rest = graph.node("Sub", f"{value}.rest", [value, restored])
        round_part(rest, rest, np.float32(quantization.scale / (LEVELS + 1)), np.uint8(128))


def _quantized_words(graph: Graph, table: Array) -> None:
    """Replace the float32 vocabulary (vocabulary, hidden) by an int8 one with one scale per token."""
    rounded, scale = round_words(table)
    words = graph.node("Gather", "words.rounded", [graph.constant("words.weight", rounded), INPUT])
    scales = graph.node("Gather", "words.scales", [graph.constant("words.scale", scale), INPUT])
    graph.node("Mul", "words", [graph.node("Cast", "words.float", [words], to=onnx.TensorProto.FLOAT), scales])
