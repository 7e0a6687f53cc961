"""From hidden states to one unit vector: pure functions of one text's numbers, so that no text can sway another's."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float32]
HiddenStates = NDArray[np.float32]


def mean(hidden_states: HiddenStates) -> Vector:
    """Average (tokens, hidden) over the tokens: the pooling of Sentence-BERT (Reimers and Gurevych 2019, section 3).

    No attention mask: a text runs alone and unpadded, so every row is one of its own tokens.
    """
    pooled: Vector = hidden_states.mean(axis=0)
    return pooled


def cls(hidden_states: HiddenStates) -> Vector:
    """Take the first token's row of (tokens, hidden), as BGE and GTE models are trained to be read."""
    first: Vector = hidden_states[0]
    return first


POOLING: dict[str, Callable[[HiddenStates], Vector]] = {"mean": mean, "cls": cls}


def weighted_mean(vectors: list[Vector], weights: list[int]) -> Vector:
    """Average the vectors of one text's windows, each weighted by its tokens; one vector is returned as it is."""
    if len(vectors) == 1:
        return vectors[0]
    averaged: Vector = np.average(vectors, axis=0, weights=np.array(weights, np.float32))
    return averaged


def truncate_dimensions(vector: Vector, dimensions: int) -> Vector:
    """Keep the first `dimensions` components, as OpenAI's `dimensions` does."""
    return vector[:dimensions]


def l2_normalize(vector: Vector) -> Vector:
    """Scale a vector to length one in float32, so that a dot product is the cosine.

    Not by np.dot, whose sum is ordered by the processor's vector width: the last bit would be too.

    Raises:
        FloatingPointError: the vector is zero or holds a NaN or an infinity, so it has no direction.
    """
    norm = np.sqrt(np.square(vector).sum())
    if not (np.isfinite(norm) and norm > 0):
        raise FloatingPointError(f"a vector of length {norm} has no direction")
    unit: Vector = vector / norm
    return unit
