import numpy as np
import pytest

from handler.embedding.pooling import average_windows, cls, l2_normalize, mean, truncate_dimensions

HIDDEN_STATES = np.array([[[1, 2, 3], [0, 0, 1]], [[3, 2, 1], [2, 0, 1]]], np.float32)  # two tokens of two texts


def test_mean_averages_the_tokens():
    np.testing.assert_array_equal(mean(HIDDEN_STATES), [[2, 2, 2], [1, 0, 1]])


def test_cls_takes_the_first_token():
    np.testing.assert_array_equal(cls(HIDDEN_STATES), [[1, 2, 3], [0, 0, 1]])


def test_windows_of_each_text_are_averaged_with_their_token_counts_as_weights():
    windows = np.array([[4, 0], [0, 4], [7, 7]], np.float32)
    averages = average_windows(windows, [[3, 1], [5]])
    assert averages.dtype == np.float32
    np.testing.assert_array_equal(averages, [[3, 1], [7, 7]])


def test_truncation_keeps_the_first_components():
    np.testing.assert_array_equal(truncate_dimensions(HIDDEN_STATES[0], 2), [[1, 2], [0, 0]])


def test_normalized_vectors_have_length_one_in_float32():
    unit = l2_normalize(np.array([[3, 4], [0, -0.2]], np.float32))
    assert unit.dtype == np.float32
    np.testing.assert_allclose(unit, [[0.6, 0.8], [0.0, -1.0]], rtol=1e-7)


@pytest.mark.parametrize("components", [[0, 0], [np.nan, 1], [np.inf, 1]])
def test_l2_normalize_rejects_vectors_without_a_direction(components):
    with pytest.raises(FloatingPointError, match="no direction"):
        l2_normalize(np.array([[1, 0], components], np.float32))
