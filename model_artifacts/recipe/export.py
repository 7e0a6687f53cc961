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

import numpy as np
import onnx
from numpy.typing import NDArray

from model_artifacts.recipe import rotary
from model_artifacts.recipe.graph import INPUT, OUTPUT, STRIDED, EncoderGraph, assemble
from model_artifacts.recipe.source import Source
from model_artifacts.recipe.weights import TOKEN_TYPES, WORDS

DISTANCE_BIAS = "encoder.relative_attention_bias.weight"
MAX_DISTANCE = 128  # in tokens; further ones share the last bucket
# Softmax subtracts the maximum of a row, so that no exponential overflows. Here a row is shifted only if its maximum is
# outside of these limits: other rows keep their bits if a layer is found to need no shift (attention.py). The sum of
# 8192 exponentials of 70, times values of up to 16,000, is finite in float32; the exponential of -70 is normal.
SCORE_LIMITS = {"least": -70.0, "most": 70.0}  # the keys are names in the graph


def export(source: Source) -> onnx.ModelProto:
    """Build the float32 graph.

    `input_ids` int64 (tokens, texts) -> `last_hidden_state` float32 (tokens, texts, hidden)
    """
    graph = EncoderGraph(source)
    output = OUTPUT if source.dense is None else "encoded"
    if source.rotary is None:
        _encode(graph, output)
    else:
        rotary.encode(graph, source.rotary, output)
    if source.dense is not None:
        # A matrix product with a token's hidden state, since pooling by mean or first token exchanges with it.
        projected = graph.linear("dense", output, source.dense.weight.T, source.dense.bias)
        graph.node("Identity", OUTPUT, [projected])
    return assemble(graph)


def _encode(graph: EncoderGraph, output: str) -> None:
    """Add the nodes of BERT, from `input_ids` to the hidden states of the name `output`."""
    source, weights = graph.source, graph.source.weights
    words = graph.node("Gather", "words", [graph.constant("words.weight", weights[WORDS]), INPUT])
    positions = weights["embeddings.position_embeddings.weight"][source.first_position :]
    if TOKEN_TYPES in weights:
        positions = positions + weights[TOKEN_TYPES][0]
    length = graph.node("Shape", "length", [INPUT], start=0, end=1)
    zero = graph.constant("zero", np.array([0]))
    table = graph.constant("positions.weight", positions[: source.max_tokens, None])
    state = graph.node("Add", "embeddings", [words, graph.node("Slice", "positions", [table, zero, length, zero])])
    state = graph.normalize("embeddings.norm", state, "embeddings.LayerNorm")
    bias = _distance_bias(graph, length) if DISTANCE_BIAS in weights else None

    for index in range(source.layers):
        prefix, name = f"encoder.layer.{index}", f"layer.{index}"
        context = _attention(graph, index, state, bias)
        attended = graph.project(f"{name}.output", context, f"{prefix}.attention.output.dense")
        state = graph.node("Add", f"{name}.attended", [attended, state])
        state = graph.normalize(f"{name}.attended.norm", state, f"{prefix}.attention.output.LayerNorm")
        widened = graph.project(f"{name}.up", state, f"{prefix}.intermediate.dense")
        activated = graph.node("Gelu", f"{name}.gelu", [widened])
        narrowed = graph.project(f"{name}.down", activated, f"{prefix}.output.dense")
        state = graph.node("Add", f"{name}.fed", [narrowed, state])
        last = index == source.layers - 1
        state = graph.normalize(output if last else f"{name}.fed.norm", state, f"{prefix}.output.LayerNorm")


def _distance_bias(graph: EncoderGraph, length: str) -> str:
    """Add what MPNet adds to the attention scores for the distance of two tokens; return (heads, tokens, tokens)."""
    table, reach = graph.source.weights[DISTANCE_BIAS], graph.source.max_tokens - 1
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


def _attention(graph: EncoderGraph, layer: int, state: str, distance_bias: str | None) -> str:
    """Add scaled dot-product attention (Vaswani et al. 2017, section 3.2); return (tokens, texts, hidden).

    `distance_bias`, (heads, tokens, tokens), is added to the scores of every text.
    """
    name, heads, weights = f"layer.{layer}.attention", graph.source.heads, graph.source.weights
    hidden = len(weights[f"encoder.layer.{layer}.attention.self.query.bias"])
    split_heads = graph.constant("split_heads", np.array([0, 0, heads, hidden // heads]))
    by_head = {}
    for part in ("query", "key", "value"):
        prefix = f"encoder.layer.{layer}.attention.self.{part}"
        scale = (hidden // heads) ** -0.5 if part == "query" else 1
        projected = graph.project(f"{name}.{part}", state, prefix, scale)
        by_head[part] = graph.node("Reshape", f"{name}.{part}.by_head", [projected, split_heads])
    scores = graph.node(
        "FusedMatMul", f"{name}.scores", [by_head["query"], by_head["key"]], transBatchA=1, transB=1, **STRIDED
    )
    if distance_bias:
        scores = graph.node("Add", f"{name}.scores.biased", [scores, distance_bias])
    limits = [graph.constant(f"score.{end}", np.array(limit, np.float32)) for end, limit in SCORE_LIMITS.items()]
    last_axis = graph.constant("last_axis", np.array([-1]))
    top = graph.node("ReduceMax", f"{name}.top", [scores, last_axis], keepdims=1)
    shift = graph.node("Sub", f"{name}.shift", [top, graph.node("Clip", f"{name}.top.clipped", [top, *limits])])
    powers = graph.node("Exp", f"{name}.powers", [graph.node("Sub", f"{name}.shifted", [scores, shift])])
    total = graph.node("ReduceSum", f"{name}.total", [powers, last_axis], keepdims=1)
    summed = graph.node("FusedMatMul", f"{name}.sum", [powers, by_head["value"]], **STRIDED)
    context = graph.node("Div", f"{name}.context", [summed, total])
    tokens_first = graph.node("Transpose", f"{name}.tokens_first", [context], perm=[2, 0, 1, 3])
    return graph.node("Reshape", name, [tokens_first, graph.constant("merge_heads", np.array([0, 0, hidden]))])
