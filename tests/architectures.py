"""Tiny encoders of every supported architecture, with weights that their names determine.

What transformers and sentence-transformers compute with them is in tests/unit/recipe/references, which
tests/unit/recipe/references/record.py writes.
"""

import base64
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file
from tokenizers import Tokenizer, decoders
from tokenizers.models import BPE, Unigram, WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer, ByteLevel, Metaspace
from tokenizers.processors import TemplateProcessing

from model_artifacts.recipe.source import Source, read

REFERENCES = Path(__file__).parent / "unit/recipe/references"
VOCABULARY = 320
SPECIAL = ["[CLS]", "[PAD]", "[SEP]", "[UNK]"]  # in RoBERTa's order, which counts no padding among the positions
OPENING, CLOSING = SPECIAL.index("[CLS]"), SPECIAL.index("[SEP]")
WORDS = [*SPECIAL, "the", "food", "was", "good", "##s", ".", ",", *"abcdefghijklmnopqrstuvwxyz"]
SMALL = {"vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
TOKENS = {"bos_token_id": 0, "eos_token_id": 2, "cls_token_id": 0, "sep_token_id": 2, "pad_token_id": 1}
# The fields of config.json that transformers' defaults do not give.
CONFIGS: dict[str, dict[str, Any]] = {
    "bert": {"model_type": "bert", "intermediate_size": 64},
    "bert-dense": {"model_type": "bert", "intermediate_size": 64},
    "mpnet": {"model_type": "mpnet", "intermediate_size": 64, "max_position_embeddings": 514},
    "roberta": {"model_type": "roberta", "intermediate_size": 64, "max_position_embeddings": 514},
    "xlm-roberta": {"model_type": "xlm-roberta", "intermediate_size": 64, "max_position_embeddings": 514},
    "nomic": {"model_type": "nomic_bert", "intermediate_size": 64, "max_position_embeddings": 8192},
    "modernbert": {"model_type": "modernbert", "intermediate_size": 48, "local_attention": 32, **TOKENS},
    "modernbert-silu": {
        "model_type": "modernbert",
        "intermediate_size": 48,
        "local_attention": 128,
        "hidden_activation": "silu",
        **TOKENS,
    },
}
TEXTS = [
    "the food was good.",
    "The foods: a, b, c!",
    "z",
    "caf\u00e9 \u65e5\u672c\u8a9e \U0001f600",
    "the food was good, " * 40,
    "good " * 130,
]


def weight(name: str, shape: list[int]) -> NDArray[np.float32]:
    """Return a tensor's values: normally distributed, about one for the gain of a LayerNorm."""
    values = np.random.default_rng(zlib.crc32(name.encode())).normal(0, 1, shape).astype(np.float32)
    if len(shape) > 1:
        return values * np.float32(0.2)
    return values * np.float32(0.05) + np.float32("norm" in name.lower() and name.endswith("weight"))


def token_ids(length: int) -> NDArray[np.int64]:
    """Return a sequence of token IDs, none of them special."""
    return np.random.default_rng(length).integers(len(SPECIAL), VOCABULARY, length)


def write_directory(folder: Path, name: str, config: dict[str, Any], shapes: dict[str, list[int]]) -> Path:
    """Write an architecture as a Hugging Face directory, as its publishers lay theirs out."""
    folder.mkdir(parents=True)
    kinds = ["Transformer", "Pooling", *(["Dense"] if name == "bert-dense" else []), "Normalize"]
    modules = [
        {"name": str(index), "path": f"{index}_{kind}" if index else "", "type": f"sentence_transformers.models.{kind}"}
        for index, kind in enumerate(kinds)
    ]
    cls = name in {"bert", "modernbert-silu"}
    save_file({each: weight(each, shape) for each, shape in shapes.items()}, folder / "model.safetensors")
    (folder / "tokenizer.json").write_text(_tokenizer(config["model_type"]).to_str())
    _write(folder / "config.json", config)
    _write(folder / "modules.json", modules)
    _write(
        folder / "sentence_bert_config.json", {"max_seq_length": 8192 if "nomic" in name or "modern" in name else 256}
    )
    pooling = {"word_embedding_dimension": 32, "pooling_mode_cls_token": cls, "pooling_mode_mean_tokens": not cls}
    _write(folder / "1_Pooling/config.json", pooling)
    tokens = dict(zip(("cls_token", "pad_token", "sep_token", "unk_token"), SPECIAL, strict=True))
    _write(folder / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast", **tokens})
    if name == "bert-dense":
        settings = {"in_features": 32, "out_features": 48, "bias": True}
        _write(folder / "2_Dense/config.json", {**settings, "activation_function": "torch.nn.modules.linear.Identity"})
        weights = {"linear.weight": weight("linear.weight", [48, 32]), "linear.bias": weight("linear.bias", [48])}
        save_file(weights, folder / "2_Dense/model.safetensors")
    return folder


def references(name: str) -> dict[str, Any]:
    """Return the recorded references of an architecture."""
    content: dict[str, Any] = json.loads((REFERENCES / f"{name}.json").read_text(encoding="utf-8"))
    return content


def decode(encoded: str) -> NDArray[np.float32]:
    """Return the rows of a recorded array."""
    values = np.frombuffer(base64.b64decode(encoded), "<f4")
    return values.reshape(-1, 32)


def read_source(folder: Path, name: str) -> Source:
    """Write an architecture as its references describe it, and read it."""
    recorded = references(name)
    return read(write_directory(folder / name, name, recorded["config"], recorded["shapes"]))


def _write(path: Path, content: object) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def _tokenizer(model_type: str) -> Tokenizer:
    """Return a tokenizer of the kind that encoders of this type have."""
    if model_type in {"roberta", "modernbert"}:
        letters = sorted(ByteLevel.alphabet())
        merges = [
            ("o", "o"),
            ("t", "h"),
            ("th", "e"),
            ("g", "oo"),
            ("\u0120", "f"),
            ("\u0120f", "oo"),
            ("\u0120foo", "d"),
        ]
        pieces = [*SPECIAL, *letters, *("".join(pair) for pair in merges)]
        tokenizer = Tokenizer(BPE({piece: index for index, piece in enumerate(pieces)}, merges, ignore_merges=False))
        tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
    elif model_type == "xlm-roberta":
        pieces = [
            *SPECIAL,
            "\u2581",
            "\u2581the",
            "\u2581food",
            "\u2581was",
            "\u2581good",
            "s",
            ".",
            ",",
            *"abcdefghijklmnopqrtuvwxyz",
        ]
        tokenizer = Tokenizer(
            Unigram([(piece, -float(index)) for index, piece in enumerate(pieces)], unk_id=SPECIAL.index("[UNK]"))
        )
        tokenizer.pre_tokenizer = Metaspace()
    else:
        tokenizer = Tokenizer(WordPiece({word: index for index, word in enumerate(WORDS)}, unk_token="[UNK]"))
        tokenizer.normalizer = BertNormalizer(lowercase=True)
        tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.add_special_tokens(SPECIAL)
    enclosing = [("[CLS]", OPENING), ("[SEP]", CLOSING)]
    tokenizer.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", pair=None, special_tokens=enclosing)
    return tokenizer
