import math
from typing import get_args

import numpy as np
import pytest

from handler.artifacts.manifest import OutputDtype
from handler.embedding.quantization import convert, shortest_decimals

# The first eight components of a vector of 16, and the other eight: bits 0b10001001 and 0b00000000.
VECTORS = np.array([[0.5, -0.25, 0.0, -0.0, 1e-9, -1e-9, -1.0, 1.0] + 8 * [-0.125]], np.float32)
DTYPES: tuple[OutputDtype, ...] = get_args(OutputDtype)
SCALE = 20.0  # times the square root of 16: 80


def test_int8_is_rounded_to_the_nearest_even_integer_and_clipped_symmetrically():
    assert convert(VECTORS, "int8", SCALE).tolist() == [[40, -20, 0, 0, 0, 0, -80, 80] + 8 * [-10]]
    assert convert(VECTORS, "int8", 40.0)[0, 6:8].tolist() == [-127, 127]
    halves = np.array([[0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 126.5, 127.5]], np.float32)
    assert convert(halves, "int8", 1 / math.sqrt(8)).tolist() == [[0, 2, 2, 0, -2, -2, 126, 127]]


def test_unsigned_types_are_the_signed_ones_plus_128():
    int8, uint8, binary, ubinary = (convert(VECTORS, dtype, SCALE) for dtype in DTYPES[2:])
    for signed, unsigned in ((int8, uint8), (binary, ubinary)):
        assert (signed.dtype.str, unsigned.dtype.str) == ("|i1", "|u1")
        np.testing.assert_array_equal(signed.astype(int) + 128, unsigned)


def test_bits_are_packed_from_the_highest_and_are_1_for_positive_components():
    assert convert(VECTORS, "ubinary", None).tolist() == [[0b10001001, 0]]
    assert convert(VECTORS, "binary", None).tolist() == [[0b10001001 - 128, -128]]


def test_float16_is_the_nearest_and_never_infinite():
    given = np.array([[1 / 3, 1e-9, -6e-8, 65504]], np.float32)
    assert convert(given, "float16", None).tolist() == [[0.333251953125, 0, -(2**-24), 65504]]
    with pytest.raises(FloatingPointError, match="overflow"):
        convert(np.array([[1e6]], np.float32), "float16", None)


def test_float_is_unchanged():
    assert convert(VECTORS, "float", None) is VECTORS


def test_int8_without_a_calibration_is_an_error():
    with pytest.raises(ValueError, match="no calibration"):
        convert(VECTORS, "int8", None)


def test_shortest_decimals_read_back_as_every_finite_float16():
    every = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    finite = every[np.isfinite(every)].reshape(-1, 32)
    decimals = shortest_decimals(finite)
    np.testing.assert_array_equal(decimals.astype(np.float16).view(np.uint16), finite.view(np.uint16))
    assert shortest_decimals(np.array([[0.1, 1 / 3, 0.015625]], np.float16)).tolist() == [[0.1, 0.3333, 0.01563]]
    digits = (str(value).split("e")[0].replace(".", "").strip("-0") for value in decimals.ravel().tolist())
    assert max(map(len, digits)) <= 5
