"""A tiny real model: two layers of random weights, built by the recipe in a few milliseconds."""

import base64
import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from safetensors.numpy import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing

from handler.artifacts.manifest import MODEL_FILE, TOKENIZER_FILE, Manifest
from handler.artifacts.resolver import Artifacts
from handler.embedding.embedder import Embedder
from handler.settings import Settings
from model_artifacts.recipe.export import export
from model_artifacts.recipe.quantize import quantize
from model_artifacts.recipe.save import describe, save
from model_artifacts.recipe.source import Source, read

HIDDEN, HEADS, LAYERS, MAX_TOKENS = 32, 4, 2, 16
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "food", "was", "good", "##s", ".", *"abcdefghijklmnopqrstuvwxyz"]
SPECIAL = OPENING, CLOSING = WORDS.index("[CLS]"), WORDS.index("[SEP]")
CALIBRATION_TEXTS = 32
CONFIG = {
    "model_type": "bert",
    "hidden_act": "gelu",
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "layer_norm_eps": 1e-12,
    "max_position_embeddings": MAX_TOKENS,
}
MODULES = [
    {"path": "", "type": "sentence_transformers.models.Transformer"},
    {"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    {"path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
]


def tokenizer_definition() -> bytes:
    """Return the tokenizer.json of a BERT tokenizer with a small vocabulary."""
    ids = {word: index for index, word in enumerate(WORDS)}
    tokenizer = Tokenizer(WordPiece(ids, unk_token="[UNK]"))
    tokenizer.normalizer = BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = BertPreTokenizer()
    special = [("[CLS]", OPENING), ("[SEP]", CLOSING)]
    tokenizer.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", pair=None, special_tokens=special)
    return tokenizer.to_str().encode()


def panicking(when: Literal["load", "encode"]) -> bytes:
    """Return a tokenizer.json on which `tokenizers` panics."""
    definition = json.loads(tokenizer_definition())
    if when == "load":
        definition["normalizer"] = {"type": "Precompiled", "precompiled_charsmap": "AAAA"}
        # A form of the special tokens that `tokenizers` itself has to read.
        definition["post_processor"] = {"type": "BertProcessing", "cls": ["[CLS]", OPENING], "sep": ["[SEP]", CLOSING]}
    else:
        definition["pre_tokenizer"] = {"type": "FixedLength", "length": 0}
    return json.dumps(definition).encode()


def source() -> Source:
    """Return random weights with the names of a BERT encoder."""
    random = np.random.default_rng(7)
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (len(WORDS), HIDDEN),
        "embeddings.position_embeddings.weight": (MAX_TOKENS, HIDDEN),
        "embeddings.token_type_embeddings.weight": (2, HIDDEN),
    }
    norms = ["embeddings.LayerNorm"]
    for index in range(LAYERS):
        layer = f"encoder.layer.{index}"
        norms += [f"{layer}.attention.output.LayerNorm", f"{layer}.output.LayerNorm"]
        projections = {
            **{f"attention.self.{part}": (HIDDEN, HIDDEN) for part in ("query", "key", "value")},
            "attention.output.dense": (HIDDEN, HIDDEN),
            "intermediate.dense": (4 * HIDDEN, HIDDEN),
            "output.dense": (HIDDEN, 4 * HIDDEN),
        }
        for name, shape in projections.items():
            shapes |= {f"{layer}.{name}.weight": shape, f"{layer}.{name}.bias": shape[:1]}
    weights = {name: random.normal(0, 0.3, shape).astype(np.float32) for name, shape in shapes.items()}
    for name in norms:
        weights |= {f"{name}.weight": np.ones(HIDDEN, np.float32), f"{name}.bias": np.zeros(HIDDEN, np.float32)}
    return Source(
        id="tiny",
        aliases=("someone/tiny",),
        origin="random",
        weights=weights,
        weights_sha256="0" * 64,
        tokenizer=tokenizer_definition(),
        layers=LAYERS,
        heads=HEADS,
        layer_norm_epsilon=1e-12,
        max_tokens=MAX_TOKENS,
        pooling="mean",
        normalize=True,
        prompts={},
    )


@cache
def artifacts() -> Artifacts:
    """Return the model's files and a manifest that describes them."""
    tiny = source()
    return pack(tiny, quantize(export(tiny), SPECIAL, CALIBRATION_TEXTS, longest=MAX_TOKENS))


def pack(packed: Source, model: onnx.ModelProto) -> Artifacts:
    """Return a graph of a source as the files that are served, and a manifest that describes them."""
    content = model.SerializeToString(deterministic=True)
    output = packed.weights["embeddings.LayerNorm.weight"] if packed.dense is None else packed.dense.bias
    manifest = Manifest(
        id=packed.id,
        aliases=packed.aliases,
        dimensions=len(output),
        max_tokens=packed.max_tokens,
        pooling=packed.pooling,
        normalize=packed.normalize,
        prompts=packed.prompts,
        files={MODEL_FILE: describe(content), TOKENIZER_FILE: describe(packed.tokenizer)},
        provenance={},
        quality={},
        calibration={"int8": 30.0},
    )
    return Artifacts(manifest, digest="d" * 64, model=content, tokenizer=packed.tokenizer)


def embedder(settings: Settings | int = 2, **changes: Any) -> Embedder:
    """Return an embedder of the tiny model for settings, or for a number of workers, with changes to its manifest."""
    if isinstance(settings, int):
        settings = Settings(workers=settings, token_input="native", auth_mode="none")
    built = artifacts()
    return Embedder(replace(built, manifest=replace(built.manifest, **changes)), settings)


def save_model(models: Path) -> Path:
    """Save the tiny model among the models of a folder; return its own folder."""
    return save_artifacts(models, artifacts())


def save_artifacts(models: Path, built: Artifacts) -> Path:
    """Save a model among the models of a folder; return its own folder."""
    folder = models / built.manifest.id
    folder.mkdir(parents=True)
    save(folder, built.manifest, {MODEL_FILE: built.model[:], TOKENIZER_FILE: built.tokenizer}, {})
    return folder


def write_directory(folder: Path) -> Path:
    """Write the tiny model as a Hugging Face directory that differs from source(): CLS pooling, 12 tokens at most."""
    (folder / "1_Pooling").mkdir(parents=True)
    save_file({f"bert.{name}": array for name, array in source().weights.items()}, folder / "model.safetensors")
    (folder / "tokenizer.json").write_bytes(tokenizer_definition())
    write_json(folder / "config.json", CONFIG)
    write_json(folder / "modules.json", MODULES)
    write_json(folder / "1_Pooling/config.json", {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False})
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": 12})
    write_json(folder / "config_sentence_transformers.json", {"prompts": {"query": "query: ", "document": "passage: "}})
    return folder


def write_json(path: Path, content: object) -> None:
    """Write `content` as JSON."""
    path.write_text(json.dumps(content))


def write_golden(path: Path, texts: list[str], vectors: NDArray[np.float32], source_sha256: str = "0" * 64) -> Path:
    """Write reference vectors as `make golden` does."""
    rows = [
        {"text": text, "embedding": base64.b64encode(vector.tobytes()).decode()}
        for text, vector in zip(texts, vectors, strict=True)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"source_sha256": source_sha256, "data": rows})
    return path


def record_golden(path: Path, directory: Path, texts: list[str]) -> Path:
    """Write the golden.json that sentence-transformers would record for a directory with weights."""
    parsed = read(directory)
    manifest = replace(artifacts().manifest, pooling=parsed.pooling, max_tokens=parsed.max_tokens)
    exact = Artifacts(manifest, digest="", model=export(parsed).SerializeToString(), tokenizer=parsed.tokenizer)
    vectors = Embedder(exact, Settings(long_input="truncate")).embed(texts).vectors
    return write_golden(path, texts, vectors, parsed.weights_sha256)
