"""A source's configuration, from the files of sentence-transformers: all that they say is read, or refused.

The fields are those of sentence-transformers 6.2 and older: what each module saves (`config_keys`), the flags of the
pooling, and config_sentence_transformers.json.
"""

import json
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from handler.artifacts.manifest import Pooling

MODULES = "Transformer", "Pooling", "Dense", "Normalize"  # in this order
POOLINGS: tuple[Pooling, ...] = ("mean", "cls")
# Older versions of sentence-transformers write the pooling as flags.
POOLING_FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
READ = {
    "sentence_bert_config.json": {"max_seq_length"},
    "config_sentence_transformers.json": {"prompts", "default_prompt_name"},
    "Pooling": {"pooling_mode", *POOLING_FLAGS},
    "Dense": {"bias", "activation_function"},
}
# Fields that change no vector: versions, sizes that the weights have as well, how clients compare vectors, speed.
WITHOUT_EFFECT = {
    "sentence_bert_config.json": {"unpad_inputs"},
    "config_sentence_transformers.json": {"__version__", "similarity_fn_name"},
    "Pooling": {"embedding_dimension", "word_embedding_dimension"},
    "Dense": {"in_features", "out_features"},
    "Normalize": set[str](),
}
IN_AND_OUT = {"module_input_name": "sentence_embedding", "module_output_name": "sentence_embedding"}
# Fields that have to say what the recipe builds, if they are there.
REQUIRED: dict[str, dict[str, Any]] = {
    "sentence_bert_config.json": {
        "do_lower_case": False,
        "transformer_task": "feature-extraction",
        "modality_config": {"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
        "module_output_name": "token_embeddings",
        "processing_kwargs": {},
        "query_length": None,
        "document_length": None,
        "query_expansion": None,
    },
    "config_sentence_transformers.json": {"model_type": "SentenceTransformer"},
    "Pooling": {"include_prompt": True},
    "Dense": {**IN_AND_OUT, "use_residual": False},
    "Normalize": IN_AND_OUT,
}


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 1


def _is_few(value: object) -> bool:
    return type(value) is int and 1 <= value <= MAX_LAYERS


def _is_prompts(value: object) -> bool:
    return isinstance(value, dict) and all(prompt is None or isinstance(prompt, str) for prompt in value.values())


# What the fields that the recipe calculates with have to be, unless they are null or missing.
MAX_LAYERS = 1000
FORMS: dict[str, tuple[Callable[[object], bool], str]] = {
    "num_hidden_layers": (_is_few, f"a whole number from 1 to {MAX_LAYERS}"),
    "num_attention_heads": (_is_few, f"a whole number from 1 to {MAX_LAYERS}"),
    "max_position_embeddings": (_is_count, "a whole number from 1 on"),
    "max_seq_length": (_is_count, "a whole number from 1 on"),
    "model_max_length": (_is_count, "a whole number from 1 on"),
    "n_layer": (_is_few, f"a whole number from 1 to {MAX_LAYERS}"),
    "n_head": (_is_few, f"a whole number from 1 to {MAX_LAYERS}"),
    "n_positions": (_is_count, "a whole number from 1 on"),
    "local_attention": (_is_count, "a whole number from 1 on"),
    "layer_norm_eps": (lambda value: type(value) in (int, float), "a number"),
    "prompts": (_is_prompts, "an object of texts by name"),
}


class SourceError(Exception):
    """A directory holds no model that this recipe can build, or a file no pairs that it can read."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """What the files of sentence-transformers say; its defaults where they are missing.

    dense       the folder of the module Dense; None without one
    max_tokens  the longest sequence, special tokens included; None if the files do not limit it
    prompts     text prefix by prompt name; the one for inputs without a prompt name has the empty name
    """

    pooling: Pooling
    normalize: bool
    dense: str | None
    max_tokens: int | None
    prompts: dict[str, str]


def read_configuration(directory: Path) -> Configuration:
    """Read the files of sentence-transformers in a directory.

    Raises:
        SourceError: they ask for something that the recipe does not build.
    """
    transformer = read_fields(directory / "sentence_bert_config.json", "sentence_bert_config.json")
    modules = _modules(directory)
    if "Normalize" in modules:
        read_fields(directory / modules["Normalize"] / "config.json", "Normalize")
    return Configuration(
        pooling=_pooling(directory / modules["Pooling"] / "config.json") if "Pooling" in modules else "mean",
        normalize="Normalize" in modules,
        dense=modules.get("Dense"),
        max_tokens=transformer.get("max_seq_length"),
        prompts=_prompts(directory / "config_sentence_transformers.json"),
    )


class Fields(dict[str, Any]):
    """A JSON object, which says in one line what it lacks."""

    def __init__(self, path: Path, content: dict[str, Any]) -> None:
        super().__init__(content)
        self._path = path

    def __missing__(self, name: str) -> Any:
        raise SourceError(f"{self._path}: it has no field {name}")


def read_json(path: Path) -> Fields:
    """Read a JSON object; a missing file is empty, since sentence-transformers' defaults hold without it.

    Raises:
        SourceError: the file is not a JSON object, or a field has a value of another form than those above.
    """
    if not path.is_file():
        return Fields(path, {})
    content = _load(path)
    if not isinstance(content, dict):
        raise SourceError(f"{path}: it is not a JSON object")
    for name, (fits, form) in FORMS.items():
        if content.get(name) is not None and not fits(content[name]):
            raise SourceError(f"{path}: {name} is {json.dumps(content[name])}, and not {form}")
    return Fields(path, content)


def _load(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{path}: it is not JSON: {error}") from error


def read_fields(path: Path, file: str) -> dict[str, Any]:
    """Read one of the files above, or the config.json of a module.

    Raises:
        SourceError: it has an unknown field, or one with a value that the recipe does not build.
    """
    content = read_json(path)
    required = REQUIRED[file]
    for field, value in content.items():
        if field in required and value not in (required[field], None):
            raise SourceError(
                f"{path}: {field} is {json.dumps(value)}; this recipe builds {json.dumps(required[field])}"
            )
    _check_names(path, "field", content.keys(), {*READ.get(file, ()), *WITHOUT_EFFECT[file], *required})
    return content


def _check_names(path: Path, kind: str, names: AbstractSet[str], known: AbstractSet[str]) -> None:
    if unknown := sorted(names - known):
        raise SourceError(f"{path}: unknown {kind} {', '.join(unknown)}; this recipe knows {', '.join(sorted(known))}")


def _modules(directory: Path) -> dict[str, str]:
    """Return the folder of each module in modules.json; no module without the file.

    Raises:
        SourceError: there is one that the recipe does not build, or their order is another.
    """
    path = directory / "modules.json"
    listed = _load(path) if path.is_file() else []
    if not isinstance(listed, list) or not all(_is_module(module) for module in listed):
        raise SourceError(f"{path}: it is not a list of modules, each with a type and a path")
    modules = {module["type"].rsplit(".", 1)[-1]: module["path"] for module in listed}
    _check_names(path, "module", modules.keys(), {*MODULES})
    order = [name for name in MODULES if name in modules]
    if listed and (list(modules) != order or len(modules) != len(listed) or "Pooling" not in modules):
        raise SourceError(
            f"{path}: its modules are {', '.join(modules)}; this recipe builds {', '.join(MODULES)}, each once"
        )
    return modules


def _is_module(module: object) -> bool:
    return isinstance(module, dict) and all(isinstance(module.get(name), str) for name in ("type", "path"))


def _pooling(path: Path) -> Pooling:
    settings = read_fields(path, "Pooling")
    modes = [mode for flag, mode in POOLING_FLAGS.items() if settings.get(flag)] or settings.get("pooling_mode", "mean")
    supported = [pooling for pooling in POOLINGS if modes in (pooling, [pooling])]
    if not supported:
        raise SourceError(f"{path}: pooling {json.dumps(modes)}; this recipe builds {' or '.join(POOLINGS)}")
    return supported[0]


def _prompts(path: Path) -> dict[str, str]:
    """Return the prompts by name, without empty ones; newer models call `document` what E5 calls `passage`.

    Raises:
        SourceError: the default prompt does not exist, or both names have a prompt.
    """
    settings = read_fields(path, "config_sentence_transformers.json")
    prompts: dict[str, str] = settings.get("prompts") or {}
    default = settings.get("default_prompt_name")
    if default is not None and default not in prompts:
        raise SourceError(f"{path}: default_prompt_name is {default!r}, and there are prompts for {sorted(prompts)}")
    if prompts.get("document") and prompts.get("passage"):
        raise SourceError(f"{path}: it has prompts for both document and passage; this recipe takes one of them")
    renamed = {"passage" if name == "document" else name: prompt for name, prompt in prompts.items()}
    named = {name: prompt for name, prompt in renamed.items() if prompt}
    return named | ({"": prompts[default]} if default and prompts[default] else {})


def in_one_line(error: BaseException) -> str:
    """Return an error's type and message, at most 300 characters."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
