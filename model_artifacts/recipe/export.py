"""Builds the ONNX graph of a BERT encoder, or of a relative of it, node by node.

The graph is not traced from PyTorch, so the recipe does not need PyTorch, every tensor has a name, the bytes are the
same on every machine, and the layout is the fastest for ONNX Runtime's CPU kernels: tokens before texts, so that heads
are batched by strides and not by copies; no token types (their single row is added to the positions); no mask (the
texts of a batch have one length, so none is padded); Add and LayerNormalization as separate nodes.

The graph uses only kernels that round identically on every x86 processor. Softmax and the operators that contain it do
not: ONNX Runtime sums their exponentials 8 at a time with AVX2 and 16 at a time with AVX-512. The difference in the
last bit can change a quantized activation, and then the whole vector: with Softmax, 4 of 56 texts differed between an
emulated Haswell and a Sapphire Rapids, with a minimum cosine of 0.9992. With Exp, ReduceSum and Div none differ.
"""

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from model_artifacts.recipe.source import Source

OPSET = 21
MICROSOFT = "com.microsoft"
INPUT = "input_ids"
OUTPUT = "last_hidden_state"
TOKEN_TYPES = "embeddings.token_type_embeddings.weight"
DISTANCE_BIAS = "encoder.relative_attention_bias.weight"
MAX_DISTANCE = 128  # in tokens; further ones share the last bucket
# Softmax subtracts the maximum of a row, so that no exponential overflows. Here a row is shifted only if its maximum is
# outside of these limits: other rows keep their bits if a layer is found to need no shift (attention.py). The sum of
# 8192 exponentials of 70, times values of up to 16,000, is finite in float32; the exponential of -70 is normal.
SCORE_LIMITS = {"least": -70.0, "most": 70.0}  # the keys are names in the graph


class Graph:
    """ONNX nodes and initializers under construction."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, onnx.TensorProto] = {}

    def constant(self, name: str, value: NDArray[Any]) -> str:
        """Add an initializer; return its name."""
        self.initializers[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def node(self, kind: str, name: str, inputs: list[str], **attributes: Any) -> str:
        """Add a node with one output; return the name of both."""
        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def linear(self, name: str, value: str, weight: NDArray[np.float32], bias: NDArray[np.float32]) -> str:
        """Add `value @ weight + bias`, weight (in, out)."""
        product = self.node("MatMul", name, [value, self.constant(f"{name}.weight", weight)])
        return self.node("Add", f"{name}.biased", [product, self.constant(f"{name}.bias", bias)])


def export(source: Source) -> onnx.ModelProto:
    """Build the float32 graph.

    `input_ids` int64 (tokens, texts) -> `last_hidden_state` float32 (tokens, texts, hidden)
    """
    graph = Graph()
    weights = source.weights

    def layer_norm(name: str, value: str, prefix: str) -> str:
        gain = graph.constant(f"{name}.gain", weights[f"{prefix}.weight"])
        shift = graph.constant(f"{name}.shift", weights[f"{prefix}.bias"])
        return graph.node("LayerNormalization", name, [value, gain, shift], epsilon=source.layer_norm_epsilon, axis=-1)

    def linear(name: str, value: str, prefix: str) -> str:
        return graph.linear(name, value, weights[f"{prefix}.weight"].T, weights[f"{prefix}.bias"])

    words = graph.node(
        "Gather", "words", [graph.constant("words.weight", weights["embeddings.word_embeddings.weight"]), INPUT]
    )
    positions = weights["embeddings.position_embeddings.weight"][source.first_position :]
    if TOKEN_TYPES in weights:
        positions = positions + weights[TOKEN_TYPES][0]
    length = graph.node("Shape", "length", [INPUT], start=0, end=1)
    zero = graph.constant("zero", np.array([0]))
    table = graph.constant("positions.weight", positions[: source.max_tokens, None])
    state = graph.node("Add", "embeddings", [words, graph.node("Slice", "positions", [table, zero, length, zero])])
    state = layer_norm("embeddings.norm", state, "embeddings.LayerNorm")
    bias = _distance_bias(graph, source, length) if DISTANCE_BIAS in weights else None

    for index in range(source.layers):
        prefix, name = f"encoder.layer.{index}", f"layer.{index}"
        context = _attention(graph, source, index, state, bias)
        attended = linear(f"{name}.output", context, f"{prefix}.attention.output.dense")
        state = graph.node("Add", f"{name}.attended", [attended, state])
        state = layer_norm(f"{name}.attended.norm", state, f"{prefix}.attention.output.LayerNorm")
        widened = graph.node("Gelu", f"{name}.gelu", [linear(f"{name}.up", state, f"{prefix}.intermediate.dense")])
        narrowed = linear(f"{name}.down", widened, f"{prefix}.output.dense")
        state = graph.node("Add", f"{name}.fed", [narrowed, state])
        last = index == source.layers - 1
        state = layer_norm(OUTPUT if last else f"{name}.fed.norm", state, f"{prefix}.output.LayerNorm")

    return assemble(graph)


def _distance_bias(graph: Graph, source: Source, length: str) -> str:
    """Add what MPNet adds to the attention scores for the distance of two tokens; return (heads, tokens, tokens)."""
    table, reach = source.weights[DISTANCE_BIAS], source.max_tokens - 1
    buckets = distance_buckets(np.arange(-reach, reach + 1), len(table))
    by_distance = graph.constant("distance.weight", table[buckets])
    numbers = {"zero": 0, "one": 1, "reach": reach}
    scalars = {name: graph.constant(f"distance.{name}", np.array(number)) for name, number in numbers.items()}
    count = graph.node("Squeeze", "distance.count", [length])
    keys = graph.node("Range", "distance.keys", [scalars["zero"], count, scalars["one"]])
    queries = graph.node("Unsqueeze", "distance.queries", [keys, graph.constant("distance.axis", np.array([1]))])
    rows = graph.node(
        "Add", "distance.rows", [graph.node("Sub", "distance.between", [keys, queries]), scalars["reach"]]
    )
    pairs = graph.node("Gather", "distance.pairs", [by_distance, rows])
    return graph.node("Transpose", "distance.bias", [pairs], perm=[2, 0, 1])


def distance_buckets(distances: NDArray[np.int64], buckets: int) -> NDArray[np.int64]:
    """Return the bucket of each distance, from the query's token to the key's (Raffel et al. 2020, section 2.1).

    Half of the buckets are for each direction. In each half, the first half has one distance per bucket, and the
    others have more the further they are.
    """
    half, far = buckets // 2, np.abs(distances)
    exact = half // 2
    share = np.log(np.maximum(far, 1) / exact) / np.log(MAX_DISTANCE / exact)
    coarse = np.minimum(exact + (share * (half - exact)).astype(np.int64), half - 1)
    return np.where(far < exact, far, coarse) + np.where(distances > 0, half, 0)


def _attention(graph: Graph, source: Source, layer: int, state: str, distance_bias: str | None) -> str:
    """Add scaled dot-product attention (Vaswani et al. 2017, section 3.2); return (tokens, texts, hidden).

    `distance_bias`, (heads, tokens, tokens), is added to the scores of every text.
    """
    name, heads, weights = f"layer.{layer}.attention", source.heads, source.weights
    hidden = len(weights[f"encoder.layer.{layer}.attention.self.query.bias"])
    split_heads = graph.constant("split_heads", np.array([0, 0, heads, hidden // heads]))
    by_head = {}
    for part in ("query", "key", "value"):
        prefix = f"encoder.layer.{layer}.attention.self.{part}"
        scale = np.float32(
            (hidden // heads) ** -0.5 if part == "query" else 1
        )  # scaling the weights costs nothing at run time
        weight, bias = weights[f"{prefix}.weight"].T * scale, weights[f"{prefix}.bias"] * scale
        projected = graph.linear(f"{name}.{part}", state, weight, bias)
        by_head[part] = graph.node("Reshape", f"{name}.{part}.by_head", [projected, split_heads])
    # FusedMatMul reads (tokens, texts, heads, width) as texts x heads matrices without copying.
    strided = {"domain": MICROSOFT, "transBatchB": 1}
    scores = graph.node(
        "FusedMatMul", f"{name}.scores", [by_head["query"], by_head["key"]], transBatchA=1, transB=1, **strided
    )
    if distance_bias:
        scores = graph.node("Add", f"{name}.scores.biased", [scores, distance_bias])
    limits = [graph.constant(f"score.{end}", np.array(limit, np.float32)) for end, limit in SCORE_LIMITS.items()]
    last_axis = graph.constant("last_axis", np.array([-1]))
    top = graph.node("ReduceMax", f"{name}.top", [scores, last_axis], keepdims=1)
    shift = graph.node("Sub", f"{name}.shift", [top, graph.node("Clip", f"{name}.top.clipped", [top, *limits])])
    powers = graph.node("Exp", f"{name}.powers", [graph.node("Sub", f"{name}.shifted", [scores, shift])])
    total = graph.node("ReduceSum", f"{name}.total", [powers, last_axis], keepdims=1)
    summed = graph.node("FusedMatMul", f"{name}.sum", [powers, by_head["value"]], **strided)
    context = graph.node("Div", f"{name}.context", [summed, total])
    tokens_first = graph.node("Transpose", f"{name}.tokens_first", [context], perm=[2, 0, 1, 3])
    return graph.node("Reshape", name, [tokens_first, graph.constant("merge_heads", np.array([0, 0, hidden]))])


def assemble(graph: Graph) -> onnx.ModelProto:
    """Close a graph into a model of texts of one length: `input_ids` in, `last_hidden_state` out."""
    body = helper.make_graph(
        graph.nodes,
        "encoder",
        [helper.make_tensor_value_info(INPUT, TensorProto.INT64, ["tokens", "texts"])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["tokens", "texts", "hidden"])],
        list(graph.initializers.values()),
    )
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(MICROSOFT, 1)]
    return helper.make_model(body, opset_imports=opsets, ir_version=10, producer_name="serverless-embeddings")
