"""Vectors to vectors of another type, component by component, with the same bits on every processor.

It is imported by the first request for another `output_dtype` than float: a cold start needs none of it.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handler.artifacts.manifest import PACKED, OutputDtype
from handler.embedding.pooling import Vectors

MAX_INT8 = 127  # and not -128, so that zero is in the middle


def convert(vectors: Vectors, output_dtype: OutputDtype, scale: float | None) -> NDArray[Any]:
    """Convert vectors, float32 (texts, dimensions); `scale` is the model's calibration for int8, for unit vectors.

    float16  the nearest one, ties to even
    int8     clip(rint(x * float32(scale * sqrt(dimensions))), -127, 127)
    uint8    int8 + 128
    ubinary  a bit per component, 1 if it is positive, 8 to a byte, the first in the highest bit: uint8 (texts, bytes)
    binary   ubinary - 128, as int8

    The bits are those of sentence-transformers' quantize_embeddings. Its int8, scaled and moved per dimension, is not:
    cosines of that need its ranges, and lose more without them (benchmarks/README.md).

    Raises:
        FloatingPointError: a component is too large for float16.
        ValueError: int8 or uint8 without a scale.
    """
    if output_dtype == "float":
        return vectors
    if output_dtype == "float16":
        with np.errstate(over="raise"):
            return vectors.astype(np.float16)
    if output_dtype in PACKED:
        bits = np.packbits(vectors > 0, axis=1)
        return flip_sign(bits).view(np.int8) if output_dtype == "binary" else bits
    if scale is None:
        raise ValueError("the model has no calibration for int8")
    factor = np.float32(scale * math.sqrt(vectors.shape[1]))
    quantized = np.clip(np.rint(vectors * factor), -MAX_INT8, MAX_INT8).astype(np.int8)
    return flip_sign(quantized.view(np.uint8)) if output_dtype == "uint8" else quantized


def flip_sign(values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Convert bytes between two's complement and offset binary, where an unsigned byte is the signed one plus 128."""
    return values ^ np.uint8(0x80)


def shortest_decimals(vectors: NDArray[np.float16]) -> NDArray[np.float64]:
    """Return the shortest decimals that read back as the same float16, as float64, of which orjson prints no more."""
    bits, places = np.unique(vectors.view(np.uint16), return_inverse=True)
    decimals = np.array([float(str(value)) for value in bits.view(np.float16)])
    return decimals[places].reshape(vectors.shape)
