"""Hidden states to unit vectors: pure functions in which no text's numbers depend on another's."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from handler.artifacts.manifest import Pooling

Vectors = NDArray[np.float32]
HiddenStates = NDArray[np.float32]


def mean(hidden_states: HiddenStates) -> Vectors:
    """Average (tokens, texts, hidden) over the tokens, as Sentence-BERT (Reimers and Gurevych 2019, section 3).

    No attention mask: texts run unpadded, so every row is one of their own tokens.
    """
    pooled: Vectors = hidden_states.mean(axis=0)
    return pooled


def cls(hidden_states: HiddenStates) -> Vectors:
    """Take the first token's row of (tokens, texts, hidden), as BGE and GTE models are trained."""
    first: Vectors = hidden_states[0]
    return first


# Of a graph whose output is the vector, every row is that vector (inference.py).
POOLING: dict[Pooling, Callable[[HiddenStates], Vectors]] = {"mean": mean, "cls": cls, "none": cls}


def average_windows(vectors: Vectors, tokens: list[list[int]]) -> Vectors:
    """Average the windows of each text, (windows, hidden), weighted by their tokens, given by text and window."""
    texts, start = [], 0
    for weights in tokens:
        end = start + len(weights)
        texts.append(np.average(vectors[start:end], axis=0, weights=np.array(weights, np.float32)))
        start = end
    return np.array(texts)


def truncate_dimensions(vectors: Vectors, dimensions: int) -> Vectors:
    """Keep the first `dimensions` components of (texts, hidden), as OpenAI's `dimensions` does."""
    return vectors[:, :dimensions]


def l2_normalize(vectors: Vectors) -> Vectors:
    """Scale each of (texts, dimensions) to length one in float32, so that a dot product is the cosine.

    np.dot would sum in an order that depends on the processor's vector width, and so would the last bit.

    Raises:
        FloatingPointError: a vector is zero or contains a NaN or an infinity, so it has no direction.
    """
    norms = np.sqrt(np.square(vectors).sum(axis=1, keepdims=True))
    if not (np.isfinite(norms) & (norms > 0)).all():
        raise FloatingPointError("a vector has no direction: it is zero, or contains a NaN or an infinity")
    unit: Vectors = vectors / norms
    return unit
