import numpy as np

from model_artifacts.recipe.rounding import PAIR_MAX, _limit_pairs, round_weight, round_words


def test_words_err_by_at_most_half_a_step_and_may_be_zero():
    table = np.array([[0, 0, 0], [0, 0.5, 1]], np.float32)
    rounded, scale = round_words(table)
    assert scale.shape == (2, 1)
    assert (np.abs(rounded * scale - table) <= scale / 2).all()


def test_weights_have_less_error_than_seven_bits_and_pairs_stay_within_the_limit():
    weight = np.random.default_rng(5).normal(size=(256, 64)).astype(np.float32)
    weight[:, 7] = 0
    rounded, scales = round_weight(weight)
    pairs = rounded.astype(int).reshape(-1, 2, 64)
    assert max(np.maximum(pairs, 0).sum(axis=1).max(), -np.minimum(pairs, 0).sum(axis=1).min()) <= PAIR_MAX
    seven_bits = np.abs(weight).max(axis=0) / 63
    seven_bits[7] = 1
    plain = np.square(np.rint(weight / seven_bits) * seven_bits - weight).sum()
    assert np.square(rounded * scales - weight).sum() < 0.5 * plain


def test_neighbours_of_one_sign_share_the_loss_and_others_keep_their_values():
    pairs = np.array([[127, 100], [-127, -5], [127, -127], [64, 64]], np.float32)
    limited = _limit_pairs(pairs.reshape(-1, 1)).reshape(-1, 2)
    assert limited.tolist() == [[78, 50], [-125, -3], [127, -127], [64, 64]]


def test_an_odd_row_at_the_end_has_no_neighbour():
    rounded, _ = round_weight(np.array([[1], [0], [1]], np.float32))
    assert rounded[:, 0].tolist() == [rounded[0, 0], 0, rounded[0, 0]]
