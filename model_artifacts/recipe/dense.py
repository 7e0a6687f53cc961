"""The Dense module of sentence-transformers, a matrix product after the pooling, as mdbr-leaf has one."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model_artifacts.recipe.configuration import SourceError, read_fields
from model_artifacts.recipe.weights import read_tensors

WEIGHTS_FILE = "model.safetensors"
WEIGHT, BIAS = "linear.weight", "linear.bias"
IDENTITY = "torch.nn.modules.linear.Identity"
DEFAULT_ACTIVATION = "torch.nn.modules.activation.Tanh"


@dataclass(frozen=True, slots=True)
class Dense:
    """What a hidden state is multiplied with: weight (out, in), bias (out), float32."""

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]


def read_dense(folder: Path) -> Dense:
    """Read a module's folder.

    Raises:
        SourceError: it asks for something that the recipe does not build, or its weights are missing.
    """
    settings = read_fields(folder / "config.json", "Dense")
    activation = settings.get("activation_function", DEFAULT_ACTIVATION)
    if activation != IDENTITY:
        raise SourceError(
            f"{folder / 'config.json'}: activation_function is {activation}; this recipe builds {IDENTITY}"
        )
    path = folder / WEIGHTS_FILE
    if not path.is_file():
        raise SourceError(f"{path}: no such file")
    tensors = read_tensors(path)
    expected = {WEIGHT, BIAS} if settings.get("bias", True) else {WEIGHT}
    if tensors.keys() != expected:
        raise SourceError(
            f"{path}: it has {', '.join(sorted(tensors))}; this recipe reads {', '.join(sorted(expected))}"
        )
    return Dense(tensors[WEIGHT], tensors.get(BIAS, np.zeros(len(tensors[WEIGHT]), np.float32)))
