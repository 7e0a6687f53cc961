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


# The weights of BERT, by its names; those of each layer come after `encoder.layer.N.`.
BOTH = ("weight", "bias")
WORDS = "embeddings.word_embeddings.weight"
TOKEN_TYPES = "embeddings.token_type_embeddings.weight"
NORM = tuple(f"embeddings.LayerNorm.{kind}" for kind in BOTH)
BERT_ENCODER = (WORDS, "embeddings.position_embeddings.weight", *NORM)
BERT_LAYER = tuple(
    f"{part}.{kind}"
    for part in (
        "attention.self.query",
        "attention.self.key",
        "attention.self.value",
        "attention.output.dense",
        "attention.output.LayerNorm",
        "intermediate.dense",
        "output.dense",
        "output.LayerNorm",
    )
    for kind in BOTH
)
MPNET_NAMES = (
    (".attention.attn.q.", ".attention.self.query."),
    (".attention.attn.k.", ".attention.self.key."),
    (".attention.attn.v.", ".attention.self.value."),
    (".attention.attn.o.", ".attention.output.dense."),
    (".attention.LayerNorm.", ".attention.output.LayerNorm."),
)
# Encoders with rotary positions have a matrix for the gate, beside BERT's `intermediate.dense`, and stack some.
GATED = tuple(
    f"{part}.weight"
    for part in (
        "attention.self.query",
        "attention.self.key",
        "attention.self.value",
        "attention.output.dense",
        "intermediate.gate",
        "intermediate.dense",
        "output.dense",
    )
)
QUERY_KEY_VALUE = ".attn.Wqkv.", (".attention.self.query.", ".attention.self.key.", ".attention.self.value.")
GATE_AND_UP = ".mlp.Wi.", (".intermediate.gate.", ".intermediate.dense.")
NOMIC_ENCODER = (WORDS, *NORM)
NOMIC_LAYER = tuple(f"{part}.LayerNorm.{kind}" for part in ("attention.output", "output") for kind in BOTH)
NOMIC_NAMES = (
    ("emb_ln.", "embeddings.LayerNorm."),
    ("encoder.layers.", "encoder.layer."),
    (".attn.out_proj.", ".attention.output.dense."),
    (".norm1.", ".attention.output.LayerNorm."),
    (".mlp.fc11.", ".intermediate.dense."),
    (".mlp.fc12.", ".intermediate.gate."),
    (".mlp.fc2.", ".output.dense."),
    (".norm2.", ".output.LayerNorm."),
)
MODERN_ENCODER = (WORDS, "embeddings.LayerNorm.weight", "final.LayerNorm.weight")
MODERN_NAMES = (
    ("embeddings.tok_embeddings.", "embeddings.word_embeddings."),
    ("embeddings.norm.", "embeddings.LayerNorm."),
    ("layers.", "encoder.layer."),
    (".attn_norm.", ".attention.LayerNorm."),
    (".attn.Wo.", ".attention.output.dense."),
    (".mlp_norm.", ".intermediate.LayerNorm."),
    (".mlp.Wo.", ".output.dense."),
    ("final_norm.", "final.LayerNorm."),
)


@dataclass(frozen=True, slots=True)
class Architecture:
    """How an encoder's files differ from BERT's, and the weights it has.

    prefix          what may be before every name
    names           parts of its names -> those of BERT
    stacked         matrices that are one in its files: its name, and theirs in order
    encoder, layer  the weights that are required, by BERT's names: outside the layers, in each, and in
    later           each but the first
    first_position  the row of the position table for a text's first token: RoBERTa's come after the padding's
    """

    prefix: str
    names: tuple[tuple[str, str], ...] = ()
    stacked: tuple[tuple[str, tuple[str, ...]], ...] = ()
    encoder: tuple[str, ...] = BERT_ENCODER
    layer: tuple[str, ...] = BERT_LAYER
    later: tuple[str, ...] = ()
    first_position: int = 0


ARCHITECTURES = {  # by the model_type of transformers
    "bert": Architecture("bert."),
    "roberta": Architecture("roberta.", first_position=2),
    "xlm-roberta": Architecture("roberta.", first_position=2),
    "mpnet": Architecture("mpnet.", names=MPNET_NAMES, first_position=2),
    "nomic_bert": Architecture(
        "bert.", NOMIC_NAMES, stacked=(QUERY_KEY_VALUE,), encoder=NOMIC_ENCODER, layer=(*GATED, *NOMIC_LAYER)
    ),
    "modernbert": Architecture(
        "model.",
        MODERN_NAMES,
        stacked=(QUERY_KEY_VALUE, GATE_AND_UP),
        encoder=MODERN_ENCODER,
        layer=(*GATED, "intermediate.LayerNorm.weight"),
        later=("attention.LayerNorm.weight",),
    ),
}


def read_weights(path: Path, architecture: Architecture, layers: int) -> Weights:
    """Read the float tensors of a safetensors file; others, such as indices of positions, are no weights.

    Raises:
        SourceError: it is no safetensors file, or lacks a tensor of an encoder of so many layers.
    """
    weights: Weights = {}
    for name, array in read_tensors(path).items():
        weights |= _unstack(_bert_name(name, architecture), array, architecture)
    required = {*architecture.encoder}
    for layer in range(layers):
        parts = architecture.layer + (architecture.later if layer else ())
        required |= {f"encoder.layer.{layer}.{part}" for part in parts}
    if missing := sorted(required - weights.keys()):
        raise SourceError(f"{path}: it has no {missing[0]}")
    return weights


def read_tensors(path: Path) -> Weights:
    """Read the float tensors of a safetensors file by their own names.

    Raises:
        SourceError: it is no safetensors file.
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
        weights[name] = array.reshape(tensor["shape"])
    return weights


def _bert_name(name: str, architecture: Architecture) -> str:
    name = name.removeprefix(architecture.prefix)
    for theirs, berts in architecture.names:
        name = name.replace(theirs, berts)
    return name


def _unstack(name: str, array: NDArray[np.float32], architecture: Architecture) -> Weights:
    for stacked, parts in architecture.stacked:
        if stacked in name:
            arrays = np.split(array, len(parts))
            return {name.replace(stacked, part): each for part, each in zip(parts, arrays, strict=True)}
    return {name: array}
