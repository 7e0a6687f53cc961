"""A source's weights: any float type to float32, any supported architecture to BERT's names."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors
from numpy.typing import NDArray

from model_artifacts.recipe.configuration import SourceError

Weights = dict[str, NDArray[np.float32]]

# safetensors' names; numpy has no bfloat16, which is the upper half of a float32.
FLOAT_TYPES = {"F64": np.float64, "F32": np.float32, "F16": np.float16}
BFLOAT16 = "BF16"


@dataclass(frozen=True, slots=True)
class Architecture:
    """How an encoder's files differ from BERT's.

    prefix          what may be before every name
    names           parts of its names -> those of BERT
    first_position  the row of the position table for a text's first token: RoBERTa's come after the padding's
    """

    prefix: str
    first_position: int = 0
    names: tuple[tuple[str, str], ...] = ()


MPNET_NAMES = (
    (".attention.attn.q.", ".attention.self.query."),
    (".attention.attn.k.", ".attention.self.key."),
    (".attention.attn.v.", ".attention.self.value."),
    (".attention.attn.o.", ".attention.output.dense."),
    (".attention.LayerNorm.", ".attention.output.LayerNorm."),
)
# What an encoder has under BERT's names; each but the tables has a weight and a bias.
TABLES = ("embeddings.word_embeddings.weight", "embeddings.position_embeddings.weight")
NORMS = ("embeddings.LayerNorm",)
LAYER = (
    "attention.self.query",
    "attention.self.key",
    "attention.self.value",
    "attention.output.dense",
    "attention.output.LayerNorm",
    "intermediate.dense",
    "output.dense",
    "output.LayerNorm",
)
ARCHITECTURES = {  # by the model_type of transformers
    "bert": Architecture("bert."),
    "roberta": Architecture("roberta.", first_position=2),
    "xlm-roberta": Architecture("roberta.", first_position=2),
    "mpnet": Architecture("mpnet.", first_position=2, names=MPNET_NAMES),
}


def read_weights(path: Path, architecture: Architecture, layers: int) -> Weights:
    """Read the float tensors of a safetensors file; others, such as indices of positions, are no weights.

    Raises:
        SourceError: it is no safetensors file, or lacks a tensor of an encoder of so many layers.
    """
    try:
        tensors = safetensors.deserialize(path.read_bytes())  # type: ignore[no-untyped-call]
    except safetensors.SafetensorError as error:
        raise SourceError(f"{path}: it is no safetensors file: {error}") from error
    weights = {}
    for name, tensor in tensors:
        if tensor["dtype"] == BFLOAT16:
            array = (np.frombuffer(tensor["data"], "<u2").astype(np.uint32) << 16).view(np.float32)
        elif tensor["dtype"] in FLOAT_TYPES:
            array = np.frombuffer(tensor["data"], FLOAT_TYPES[tensor["dtype"]]).astype(np.float32)
        else:
            continue
        weights[_bert_name(name, architecture)] = array.reshape(tensor["shape"])
    linear = [f"encoder.layer.{layer}.{part}" for layer in range(layers) for part in LAYER]
    required = [f"{part}.{kind}" for part in (*NORMS, *linear) for kind in ("weight", "bias")]
    if missing := sorted({*TABLES, *required} - weights.keys()):
        raise SourceError(f"{path}: it has no {missing[0]}")
    return weights


def _bert_name(name: str, architecture: Architecture) -> str:
    name = name.removeprefix(architecture.prefix)
    for theirs, berts in architecture.names:
        name = name.replace(theirs, berts)
    return name
