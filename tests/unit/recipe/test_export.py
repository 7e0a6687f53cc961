"""The exported graph, compared with the same encoder implemented in float64."""

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from handler.embedding.inference import InferenceSession
from model_artifacts.recipe.export import DISTANCE_BIAS, distance_buckets, export
from model_artifacts.recipe.source import Source
from model_artifacts.recipe.weights import TOKEN_TYPES
from tests import tiny

Array = NDArray[np.float64]


def layer_norm(value: Array, source: Source, name: str) -> Array:
    centred = value - value.mean(axis=-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + source.layer_norm_epsilon)
    shifted: Array = scaled * source.weights[f"{name}.weight"] + source.weights[f"{name}.bias"]
    return shifted


def buckets_of_pairs(tokens: int, buckets: int = 32, max_distance: int = 128) -> NDArray[np.int64]:
    """Return the bucket of each pair of tokens, (queries, keys), one at a time as MPNet's own code defines it."""
    result = np.zeros((tokens, tokens), np.int64)
    for query, key in np.ndindex(tokens, tokens):
        distance, half = abs(key - query), buckets // 2
        exact = half // 2
        if distance >= exact:
            share = math.log(distance / exact) / math.log(max_distance / exact)
            distance = min(exact + int(share * (half - exact)), half - 1)
        result[query, key] = distance + half * (key > query)
    return result


def encode(source: Source, token_ids: list[int]) -> Array:
    """Run BERT as its paper defines it: with Softmax, and without folded or fused operators."""
    weights = {name: array.astype(np.float64) for name, array in source.weights.items()}

    def linear(value: Array, name: str) -> Array:
        return value @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    state = weights["embeddings.word_embeddings.weight"][token_ids]
    state = state + weights["embeddings.position_embeddings.weight"][source.first_position :][: len(token_ids)]
    if TOKEN_TYPES in weights:
        state = state + weights[TOKEN_TYPES][0]
    state = layer_norm(state, source, "embeddings.LayerNorm")
    for index in range(source.layers):
        layer = f"encoder.layer.{index}"
        query, key, value = (
            linear(state, f"{layer}.attention.self.{part}").reshape(len(token_ids), source.heads, -1).swapaxes(0, 1)
            for part in ("query", "key", "value")
        )
        scores = query @ key.swapaxes(1, 2) / math.sqrt(query.shape[-1])
        if DISTANCE_BIAS in weights:
            scores = scores + weights[DISTANCE_BIAS][buckets_of_pairs(len(token_ids))].transpose(2, 0, 1)
        powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
        shares = powers / powers.sum(axis=-1, keepdims=True)
        context = (shares @ value).swapaxes(0, 1).reshape(len(token_ids), -1)
        attended = linear(context, f"{layer}.attention.output.dense") + state
        state = layer_norm(attended, source, f"{layer}.attention.output.LayerNorm")
        wide = linear(state, f"{layer}.intermediate.dense")
        wide = wide * (1 + np.vectorize(math.erf)(wide / math.sqrt(2))) / 2
        state = layer_norm(linear(wide, f"{layer}.output.dense") + state, source, f"{layer}.output.LayerNorm")
    return state


def test_exported_graph_matches_the_reference_encoder():
    source = tiny.source()
    session = InferenceSession(export(source).SerializeToString())
    for token_ids in ([2, 3], [2, 4, 5, 6, 7, 3], [2, *range(4, 18), 3]):
        np.testing.assert_allclose(session.run(np.array([token_ids]).T)[:, 0], encode(source, token_ids), atol=2e-5)


def test_exported_relatives_of_bert_match_the_reference_encoder():
    tiny_source, random = tiny.source(), np.random.default_rng(3)
    positions = random.normal(0, 0.3, (tiny.MAX_TOKENS + 2, tiny.HIDDEN)).astype(np.float32)
    bias = random.normal(0, 2, (32, tiny.HEADS)).astype(np.float32)
    weights = {name: array for name, array in tiny_source.weights.items() if name != TOKEN_TYPES}
    weights["embeddings.position_embeddings.weight"] = positions
    for more in ({}, {DISTANCE_BIAS: bias}):
        source = replace(tiny_source, weights=weights | more, first_position=2)
        session = InferenceSession(export(source).SerializeToString())
        for token_ids in ([2, 3], [2, *range(4, 18), 3]):
            np.testing.assert_allclose(session.run(np.array([token_ids]).T)[:, 0], encode(source, token_ids), atol=2e-5)


def test_distances_share_buckets_as_in_mpnet():
    pairs = buckets_of_pairs(300)
    distances = np.arange(300)[None, :] - np.arange(300)[:, None]
    np.testing.assert_array_equal(distance_buckets(distances, 32), pairs)
    assert pairs.max() == 31


def test_export_is_deterministic():
    first, second = (export(tiny.source()).SerializeToString(deterministic=True) for _ in range(2))
    assert first == second
