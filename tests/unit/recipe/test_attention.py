"""Attention scores beyond what an exponential in float32 holds."""

import numpy as np
import pytest

from handler.embedding.inference import InferenceSession
from model_artifacts.recipe.attention import clip_small_scores, largest_scores
from model_artifacts.recipe.export import SCORE_LIMITS, export
from model_artifacts.recipe.source import Source
from tests import tiny
from tests.unit.recipe.test_export import encode

IDS = [tiny.OPENING, *range(4, 16), tiny.CLOSING]
TEXT = np.array([IDS]).T


def with_large_scores(factor: float) -> Source:
    """Return the tiny model with larger attention scores in its first layer."""
    source = tiny.source()
    source.weights["encoder.layer.0.attention.self.query.weight"] *= np.float32(factor)
    return source


def hidden_states(model) -> np.ndarray:
    return InferenceSession(model.SerializeToString()).run(TEXT)[:, 0]


@pytest.mark.parametrize("factor", [100, 1e4])
def test_scores_of_any_size_are_exact(factor):
    source = with_large_scores(factor)
    full = export(source)
    largest = largest_scores(full, [TEXT])
    assert largest["layer.0.attention.top"] > SCORE_LIMITS["most"]
    expected = encode(source, IDS)
    np.testing.assert_allclose(hidden_states(full), expected, atol=1e-3)
    clipped = clip_small_scores(full, largest)
    np.testing.assert_array_equal(hidden_states(clipped), hidden_states(full))
    # Without the shift, the largest scores would be equal.
    everywhere = clip_small_scores(full, dict.fromkeys(largest, 0.0))
    assert np.abs(hidden_states(everywhere) - expected).max() > 0.1


def test_layers_with_small_scores_are_clipped_and_keep_their_bits():
    full = export(with_large_scores(100))
    largest = largest_scores(full, [TEXT])
    assert largest["layer.1.attention.top"] < SCORE_LIMITS["most"] / 2
    clipped = clip_small_scores(full, largest)
    kinds = [(node.op_type, node.name) for node in clipped.graph.node if node.op_type in ("Clip", "ReduceMax")]
    assert kinds == [
        ("ReduceMax", "layer.0.attention.top"),
        ("Clip", "layer.0.attention.top.clipped"),
        ("Clip", "layer.1.attention.shifted"),
    ]
    small = export(tiny.source())
    np.testing.assert_array_equal(
        hidden_states(clip_small_scores(small, largest_scores(small, [TEXT]))), hidden_states(small)
    )
