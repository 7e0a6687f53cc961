"""The float32 graph with its matrix products and its vocabulary in int8.

Products become DynamicQuantizeMatMul: uint8 activations with one scale per tensor, int8 weights with one scale per
output channel. Weights keep seven bits (`reduce_range`): on processors without VNNI the products of uint8 and int8 are
summed in pairs in int16, which eight bits can overflow, and then the same text has another vector there.

One scale per tensor loses what outlier channels cost: a channel of magnitude 28 among channels of magnitude 2 leaves
those four bits. So an outlier channel is divided by a power of two (exact in float32) before the product, in one of two
ways:

    equalised  its row of the weight is multiplied by the same, as in SmoothQuant (Xiao et al. 2022,
               arxiv.org/abs/2211.10438)
    split      it appears that many times, as in outlier channel splitting (Zhao et al. 2019, arxiv.org/abs/1901.09504):
               after GELU the copies are columns of the product before, and the weight's scale stays as fine as it was

Which channels count as outliers is a threshold on their magnitude; each product takes the one of a few that measures
the smallest error, or none where that does not pay. SmoothQuant folds its division into the LayerNorm before; in BERT
that output is also the residual, so it is a Mul of its own.
"""

from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import numpy_helper
from tqdm import tqdm

from model_artifacts.recipe.export import INPUT, MICROSOFT, Graph, assemble
from model_artifacts.recipe.source import Weights

Array = NDArray[np.float32]

WEIGHT_MAX = 63  # seven bits, sign included: see reduce_range above
WORD_MAX = 127  # the vocabulary is looked up, not multiplied: nothing can overflow
THRESHOLDS = 2.0 ** np.arange(-0.5, 4.6, 0.5)
WORTH_A_NODE = 0.9  # scale a product's channels only if that leaves less than this share of its squared error

MOST_COPIES = 48  # of a product's channels: 3 % of the work at a width of 1536

CALIBRATION_TEXTS = 256
CALIBRATION_TOKENS = 40  # at most, of one text


@dataclass(slots=True)
class Product:
    """A product with a constant: weight (in, out), bias (out), and what divides each input channel, if anything."""

    weight: Array
    bias: Array
    factors: Array | None = None


def quantize(model: onnx.ModelProto, special: tuple[int, int], texts: int = CALIBRATION_TEXTS) -> onnx.ModelProto:
    """Quantize an exported graph, calibrated on random texts; `special` are the ids that open and close each."""
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    nodes = {node.name: node for node in model.graph.node if f"{node.name}.bias" in weights}
    activations = _observe(model, [node.input[0] for node in nodes.values()], special, weights, texts)
    products = {name: Product(weights[f"{name}.weight"], weights[f"{name}.bias"]) for name in nodes}
    for name, product in tqdm(products.items(), desc="  products", leave=False, disable=None):
        before = products[name.replace(".down", ".up")] if name.endswith(".down") else None
        _tame_outliers(product, activations[nodes[name].input[0]], before)

    graph = Graph()
    for node in model.graph.node:
        if node.name in products:
            _quantized_product(graph, node, products[node.name])
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


def _observe(
    model: onnx.ModelProto, names: list[str], special: tuple[int, int], weights: Weights, texts: int
) -> dict[str, list[Array]]:
    """Run random token sequences and keep the inputs of every product.

    Outlier channels belong to the weights, not to what is read: random tokens find the same ones as sentences do, no
    text has to be shipped or licensed, and no data set can be fitted.
    """
    probed = onnx.ModelProto()
    probed.CopyFrom(model)
    probed.graph.output.extend(onnx.ValueInfoProto(name=name) for name in dict.fromkeys(names))
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(probed.SerializeToString(), options, providers=["CPUExecutionProvider"])
    vocabulary = len(weights["words.weight"])
    longest = min(CALIBRATION_TOKENS, len(weights["positions.weight"]) - len(special))
    random = np.random.default_rng(0)
    seen: dict[str, list[Array]] = {name: [] for name in names}
    for _ in range(texts):
        tokens = random.integers(vocabulary // 30, vocabulary, random.integers(1, longest + 1))
        ids = np.concatenate([special[:1], tokens, special[1:]])[None].astype(np.int64)
        for name, value in zip(seen, session.run(list(seen), {INPUT: ids}), strict=True):
            seen[name].append(value[0])
    return seen


def _tame_outliers(product: Product, activations: list[Array], before: Product | None) -> None:
    """Split a product's outlier channels if the product before can make the copies, or else equalise them."""
    magnitude = np.max([np.abs(value).max(axis=0) for value in activations], axis=0)
    least = WORTH_A_NODE * _squared_error(activations, product.weight, np.ones_like(magnitude), split=bool(before))
    for threshold in THRESHOLDS:
        factors = np.exp2(np.rint(np.log2(np.maximum(1, magnitude / threshold)))).astype(np.float32)
        if factors.max() == 1:
            break  # nor will any channel exceed the higher thresholds
        if before and factors.sum() > len(factors) + MOST_COPIES:
            continue
        error = _squared_error(activations, product.weight, factors, split=bool(before))
        if error < least:
            product.factors, least = factors, error
    if product.factors is None:
        return
    if before:
        channels = np.repeat(np.arange(len(magnitude)), product.factors.astype(int))
        before.weight, before.bias = before.weight[:, channels], before.bias[channels]
        product.weight, product.factors = product.weight[channels], product.factors[channels]
    else:
        product.weight = product.weight * product.factors[:, None]


def _squared_error(activations: list[Array], weight: Array, factors: Array, *, split: bool) -> float:
    """Sum over the texts the squared error that quantizing both operands causes in the product."""
    row_factors = np.float32(1) if split else factors[:, None]
    rounded, scale = round_to_int8(weight * row_factors, 0, WEIGHT_MAX)
    approximate = rounded * scale * (factors[:, None] / row_factors)
    return sum(
        float(((_fake_quantize(value / factors) @ approximate - value @ weight) ** 2).sum()) for value in activations
    )


def _fake_quantize(value: Array) -> Array:
    """Round a tensor as DynamicQuantizeLinear does: uint8, one scale, zero exactly representable."""
    low, high = min(value.min(), np.float32(0)), max(value.max(), np.float32(0))
    scale = (high - low) / np.float32(255)
    zero = np.rint(-low / scale)
    result: Array = (np.clip(np.rint(value / scale) + zero, 0, 255) - zero) * scale
    return result


def _quantized_product(graph: Graph, node: onnx.NodeProto, product: Product) -> None:
    """Put DynamicQuantizeMatMul where a MatMul and the Add of its bias were."""
    name, value = node.name, node.input[0]
    if product.factors is not None:
        value = graph.node("Mul", f"{name}.tamed", [value, graph.constant(f"{name}.factors", 1 / product.factors)])
    rounded, scale = round_to_int8(product.weight, 0, WEIGHT_MAX)
    inputs = [
        value,
        graph.constant(f"{name}.weight", rounded),
        graph.constant(f"{name}.scale", scale[0]),
        graph.constant(f"{name}.zero", np.zeros(len(product.bias), np.int8)),
        graph.constant(f"{name}.bias", product.bias),
    ]
    graph.node("DynamicQuantizeMatMul", f"{name}.biased", inputs, domain=MICROSOFT)


def _quantized_words(graph: Graph, table: Array) -> None:
    """Put an int8 vocabulary with one scale per word where the float32 one was: (vocabulary, hidden) by token id."""
    rounded, scale = round_to_int8(table, 1, WORD_MAX)
    words = graph.node("Gather", "words.rounded", [graph.constant("words.weight", rounded), INPUT])
    scales = graph.node("Gather", "words.scales", [graph.constant("words.scale", scale), INPUT])
    graph.node("Mul", "words", [graph.node("Cast", "words.float", [words], to=onnx.TensorProto.FLOAT), scales])
