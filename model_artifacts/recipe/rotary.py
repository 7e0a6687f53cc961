"""Builds the nodes of an encoder with rotary positions and gated layers: NomicBERT, ModernBERT.

Like the nodes of BERT (export.py), they use only kernels that round identically on every x86 processor: sines and
cosines are constants, and Softmax is written out.
"""

import numpy as np

from model_artifacts.recipe.architecture import Rotary
from model_artifacts.recipe.blocks import Blocks, attend, divide
from model_artifacts.recipe.graph import INPUT, MICROSOFT, EncoderGraph
from model_artifacts.recipe.weights import TOKEN_TYPES, WORDS


def encode(graph: EncoderGraph, rotary: Rotary, output: str) -> str:
    """Add the nodes from `input_ids` to the hidden states, (tokens, texts, hidden); the last is named `output`."""
    source, words = graph.source, graph.source.weights[WORDS]
    width = words.shape[1] // source.heads
    blocks = divide(graph, source.heads, width)
    for base in sorted(set(rotary.bases)):
        _add_rotation(graph, base, width)
    table = graph.constant("positions.weight", np.arange(source.max_tokens)[:, None])
    column = graph.node("Slice", "positions.column", [table, blocks.zero, blocks.length, blocks.zero])
    graph.node("Expand", "positions", [column, graph.node("Shape", "shape", [INPUT])])

    state = graph.node("Gather", "words", [graph.constant("words.weight", words), INPUT])
    if TOKEN_TYPES in source.weights:
        state = graph.node("Add", "embeddings", [state, graph.constant("type", source.weights[TOKEN_TYPES][0])])
    state = graph.normalize("embeddings.norm", state, "embeddings.LayerNorm")
    for layer in range(source.layers):
        name, prefix = f"layer.{layer}", f"encoder.layer.{layer}"
        attended = f"{name}.attended.norm"
        fed = output if layer == source.layers - 1 else f"{name}.fed.norm"
        # NomicBERT normalizes the sum of both parts' input and output, as BERT does, and ModernBERT their input.
        read = _normalize(graph, f"{name}.attention.norm", state, f"{prefix}.attention.LayerNorm")
        state = graph.node("Add", f"{name}.attended", [_attention(graph, rotary, layer, read, blocks), state])
        state = _normalize(graph, attended, state, f"{prefix}.attention.output.LayerNorm")
        read = _normalize(graph, f"{name}.gated.norm", state, f"{prefix}.intermediate.LayerNorm")
        state = graph.node("Add", f"{name}.fed", [_gated(graph, rotary, layer, read), state])
        state = _normalize(graph, fed, state, f"{prefix}.output.LayerNorm")
    return _normalize(graph, output, state, "final.LayerNorm")


def _normalize(graph: EncoderGraph, name: str, value: str, weights: str) -> str:
    """Add a LayerNormalization if the encoder has it."""
    return graph.normalize(name, value, weights) if f"{weights}.weight" in graph.source.weights else value


def _add_rotation(graph: EncoderGraph, base: float, width: int) -> None:
    """Add the cosines and sines of all positions' angles, (positions, width / 2) (Su et al. 2021, section 3.2).

    They are computed in float64, but rounded where transformers rounds, whose models know the position 8,000 by angles
    that are off by 3e-4.
    """
    powers = base ** (np.arange(0, width, 2, dtype=np.float32) / np.float32(width)).astype(np.float64)
    frequencies = np.float32(1) / powers.astype(np.float32)
    positions = np.arange(graph.source.max_tokens, dtype=np.float32)
    angles = np.outer(positions, frequencies).astype(np.float64)
    graph.constant(f"rotation.{base:g}.cosines", np.cos(angles).astype(np.float32))
    graph.constant(f"rotation.{base:g}.sines", np.sin(angles).astype(np.float32))


def _attention(graph: EncoderGraph, rotary: Rotary, layer: int, state: str, blocks: Blocks) -> str:
    """Add a layer's attention and its projection; return (tokens, texts, hidden)."""
    name, prefix, base = f"layer.{layer}.attention", f"encoder.layer.{layer}.attention", rotary.bases[layer]
    hidden = len(graph.source.weights["embeddings.LayerNorm.weight"])
    scale = (hidden // graph.source.heads) ** -0.5
    query = graph.project(f"{name}.query", state, f"{prefix}.self.query", scale)
    key = graph.project(f"{name}.key", state, f"{prefix}.self.key")
    value = graph.project(f"{name}.value", state, f"{prefix}.self.value")
    # For the operator, whose texts come first, each of our tokens is a text, and our texts are its tokens.
    tables = ["positions", f"rotation.{base:g}.cosines", f"rotation.{base:g}.sines"]
    query, key = (
        graph.node("RotaryEmbedding", f"{name}.{part}.rotated", [projected, *tables], domain=MICROSOFT)
        for part, projected in (("query", query), ("key", key))
    )
    context = attend(graph, name, blocks, (query, key, value), rotary.windows[layer])
    return graph.project(f"layer.{layer}.output", context, f"{prefix}.output.dense")


def _gated(graph: EncoderGraph, rotary: Rotary, layer: int, state: str) -> str:
    """Add a layer's gated products (Shazeer 2020, section 2); return (tokens, texts, hidden)."""
    name, prefix = f"layer.{layer}", f"encoder.layer.{layer}"
    gate = graph.project(f"{name}.gate", state, f"{prefix}.intermediate.gate")
    if rotary.activation == "gelu":
        opened = graph.node("Gelu", f"{name}.gelu", [gate])
    else:
        opened = graph.node("Mul", f"{name}.silu", [gate, graph.node("Sigmoid", f"{name}.sigmoid", [gate])])
    up = graph.project(f"{name}.up", state, f"{prefix}.intermediate.dense")
    gated = graph.node("Mul", f"{name}.gated", [opened, up])
    return graph.project(f"{name}.down", gated, f"{prefix}.output.dense")
