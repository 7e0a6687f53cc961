"""Rounds weights to int8, so that every processor multiplies them exactly.

Processors without VNNI sum the products of two neighbouring input channels in int16 (VPMADDUBSW), which saturates: the
same text would have another vector there. Seven bits for every weight prevent that (`reduce_range`). So does the weaker
rule that two neighbours of one sign sum to 128 at most. So weights have eight bits, and the few pairs that break it
lose some steps, which has 0.3 to 0.4 of the squared error of seven bits. ONNX Runtime packs four rows of a weight next
to each other, so the neighbours are the rows 0 and 1, 2 and 3, and so on.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

INT8_MAX = 127
PAIR_MAX = 128  # of two neighbouring weights of one sign: 255 * 128 < 2 ** 15
WEIGHT_RANGES = np.linspace(63, INT8_MAX, 9)  # what the largest weight of a column may become; 63 never loses a pair


def round_words(table: Array) -> tuple[NDArray[np.int8], Array]:
    """Quantize the vocabulary symmetrically; return int8 and the float32 scale of each token, (vocabulary, 1)."""
    scale = _nonzero(np.abs(table).max(axis=1, keepdims=True) / np.float32(INT8_MAX))
    return np.rint(table / scale).astype(np.int8), scale


def round_weight(weight: Array) -> tuple[NDArray[np.int8], Array]:
    """Quantize a weight (in, out) symmetrically; return int8 and the float32 scale of each column, (out).

    Of several scales, each column gets the one with the smallest squared error. Sums over the first axis add row by row
    on every processor, so the same one is chosen everywhere.
    """
    largest, smallest = np.abs(weight).max(axis=0), np.full(weight.shape[1], np.inf, np.float32)
    rounded, scales = np.zeros(weight.shape, np.int8), np.ones(weight.shape[1], np.float32)
    for limit in WEIGHT_RANGES:
        scale = _nonzero(largest / np.float32(limit))
        candidate = _limit_pairs(np.rint(weight / scale))
        error = np.square(candidate * scale - weight).sum(axis=0)
        better = error < smallest
        rounded[:, better], scales[better], smallest[better] = candidate[:, better], scale[better], error[better]
    return rounded, scales


def _limit_pairs(rounded: Array) -> Array:
    """Bring both of two neighbouring rows nearer to zero where they have one sign and sum to more than PAIR_MAX."""
    first, second = rounded[:-1:2], rounded[1::2]  # an odd row at the end has no neighbour
    excess = np.where(first * second > 0, np.maximum(np.abs(first + second) - PAIR_MAX, 0), 0)
    first -= np.sign(first) * np.floor(excess / 2)
    second -= np.sign(second) * np.ceil(excess / 2)
    return rounded


def _nonzero(scale: Array) -> Array:
    return np.where(scale == 0, np.float32(1), scale)
