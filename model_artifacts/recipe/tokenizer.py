"""A source's tokenizer: tokenizer.json, which is served as it is, and the settings in tokenizer_config.json."""

import json
from dataclasses import dataclass
from pathlib import Path

from model_artifacts.recipe.configuration import SourceError, read_json
from model_artifacts.recipe.fields import FieldRules

TOKENIZER_FILE = "tokenizer.json"
# Settings that transformers imposes on a part of tokenizer.json: the part, its type, and the name that they have there.
IMPOSED = {
    "do_lower_case": ("normalizer", "BertNormalizer", "lowercase"),
    "strip_accents": ("normalizer", "BertNormalizer", "strip_accents"),
    "tokenize_chinese_chars": ("normalizer", "BertNormalizer", "handle_chinese_chars"),
    "add_prefix_space": ("pre_tokenizer", "ByteLevel", "add_prefix_space"),
}
# fmt: off
FIELDS = FieldRules(
    read={"model_max_length", *IMPOSED},
    required={"truncation_side": "right", "split_special_tokens": False, "never_split": None},
    # Names of tokens, which tokenizer.json has as well; padding, decoding, other implementations.
    without_effect={
        "added_tokens_decoder", "additional_special_tokens", "auto_map", "backend", "bos_token",
        "clean_up_tokenization_spaces", "cls_token", "do_basic_tokenize", "eos_token", "errors", "extra_special_tokens",
        "full_tokenizer_file", "is_local", "legacy", "local_files_only", "mask_token", "max_length",
        "model_input_names", "name_or_path", "pad_to_multiple_of", "pad_token", "pad_token_type_id", "padding_side",
        "sep_token", "sp_model_kwargs", "special_tokens_map_file", "stride", "tokenizer_class", "tokenizer_file",
        "trim_offsets", "truncation_strategy", "unk_token", "use_fast", "vocab_file",
    },
)
# fmt: on


@dataclass(frozen=True, slots=True)
class SourceTokenizer:
    """The bytes of tokenizer.json, and the longest sequence, special tokens included; None if it is not limited."""

    definition: bytes
    max_tokens: int | None


def read_tokenizer(directory: Path) -> SourceTokenizer:
    """Read both files.

    Raises:
        SourceError: tokenizer_config.json has an unknown field, or contradicts tokenizer.json.
    """
    path = directory / "tokenizer_config.json"
    settings = read_json(path)
    FIELDS.check(path, settings)
    definition = (directory / TOKENIZER_FILE).read_bytes()
    parts = json.loads(definition)
    for setting, (part, kind, name) in IMPOSED.items():
        built, stated = parts.get(part) or {}, settings.get(setting)
        if built.get("type") == kind and stated not in (None, built[name]):
            found, other = json.dumps(stated), json.dumps(built[name])
            raise SourceError(f"{path}: {setting} is {found}, and {name} in {TOKENIZER_FILE} is {other}")
    return SourceTokenizer(definition, settings.get("model_max_length"))
