import numpy as np

from model_artifacts.recipe import calibrate
from model_artifacts.recipe.calibrate import observe, random_texts
from model_artifacts.recipe.export import export
from tests import tiny


def test_random_texts_reach_the_models_full_length():
    texts = random_texts(20, 512, 1000, (101, 102))
    lengths = list(map(len, texts))
    assert (lengths[0], max(lengths), len(texts)) == (512, 512, 20)
    assert min(lengths) < 20
    assert all((text[0, 0], text[-1, 0]) == (101, 102) for text in texts)


def test_random_texts_of_a_model_that_reads_thousands_are_fewer():
    texts = random_texts(256, 8192, 1000, (101, 102))
    assert len(texts[0]) == 8192
    assert calibrate.CALIBRATION_TOKENS <= sum(map(len, texts)) < calibrate.CALIBRATION_TOKENS + 8192


def test_extremes_are_of_all_tokens_and_the_sample_of_some(monkeypatch):
    monkeypatch.setattr(calibrate, "SAMPLE", 50)
    texts = random_texts(32, tiny.MAX_TOKENS, len(tiny.WORDS), tiny.SPECIAL)
    full = export(tiny.source())
    values = [value[0][:, 0] for value in calibrate.run(full, ["layer.0.gelu"], texts)]
    seen = observe(full, ["layer.0.gelu", "layer.0.up"], texts)["layer.0.gelu"]
    np.testing.assert_array_equal(seen.highest, np.concatenate(values).max(axis=0))
    np.testing.assert_array_equal(seen.lowest, np.concatenate(values).min(axis=0))
    assert seen.sample.shape == (50, 4 * tiny.HIDDEN)
    assert {row.tobytes() for row in seen.sample} <= {row.tobytes() for value in values for row in value}
