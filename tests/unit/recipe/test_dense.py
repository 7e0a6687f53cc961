"""The Dense module: its files are read, or refused; its vectors are compared in test_architectures.py."""

import numpy as np
import pytest
from safetensors.numpy import save_file

from model_artifacts.recipe.configuration import SourceError
from model_artifacts.recipe.dense import IDENTITY, read_dense
from tests import tiny

SETTINGS = {"in_features": 3, "out_features": 2, "bias": True, "activation_function": IDENTITY}
WEIGHTS = {"linear.weight": np.arange(6, dtype=np.float16).reshape(2, 3), "linear.bias": np.ones(2, np.float16)}


@pytest.fixture
def folder(tmp_path):
    tiny.write_json(tmp_path / "config.json", SETTINGS)
    save_file(WEIGHTS, tmp_path / "model.safetensors")
    return tmp_path


def test_weights_are_read_as_float32(folder):
    dense = read_dense(folder)
    assert dense.weight.dtype == dense.bias.dtype == np.float32
    np.testing.assert_array_equal(dense.weight, WEIGHTS["linear.weight"])
    np.testing.assert_array_equal(dense.bias, [1, 1])


def test_without_a_bias_it_is_zero(folder):
    tiny.write_json(folder / "config.json", {**SETTINGS, "bias": False})
    save_file({"linear.weight": WEIGHTS["linear.weight"]}, folder / "model.safetensors")
    np.testing.assert_array_equal(read_dense(folder).bias, [0, 0])


@pytest.mark.parametrize("activation", ["torch.nn.modules.activation.Tanh", None])
def test_an_activation_is_refused_because_the_mean_would_not_exchange_with_it(folder, activation):
    settings = {**SETTINGS, "activation_function": activation}
    tiny.write_json(folder / "config.json", {name: value for name, value in settings.items() if value})
    with pytest.raises(
        SourceError, match=r"config.json: activation_function is torch\.nn\.\S+Tanh; this recipe builds "
    ):
        read_dense(folder)


def test_missing_and_unknown_weights_are_refused(folder):
    save_file({"linear.weight": WEIGHTS["linear.weight"]}, folder / "model.safetensors")
    with pytest.raises(SourceError, match=r"it has linear\.weight; this recipe reads linear\.bias, linear\.weight"):
        read_dense(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(SourceError, match=r"model\.safetensors: no such file"):
        read_dense(folder)
