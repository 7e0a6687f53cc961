"""Engines that run a graph and are no embedders: padded batches around them, and the mean over each text's tokens."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

# Texts, texts per batch, whether to sort by length -> vectors.
Embed = Callable[[list[str], int, bool], Any]
# Token IDs and mask, int64 (texts, tokens) -> hidden states, float32 (texts, tokens, hidden).
Run = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.float32]]


def restored(vectors: NDArray[np.float32], order: Sequence[int]) -> NDArray[np.float32]:
    """Return vectors of sorted texts in the texts' own order."""
    placed = np.empty_like(vectors)
    placed[list(order)] = vectors
    return placed


def load_tokenizer(folder: Path) -> Tokenizer:
    """Return the tokenizer in a folder, which neither pads nor truncates."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def plain(folder: Path, threads: int, option: str) -> Embed:
    """Load a plain graph into ONNX Runtime; the option is `basic` optimization, or a fusion to leave out."""
    import onnxruntime as ort

    levels = ort.GraphOptimizationLevel
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.graph_optimization_level = levels.ORT_ENABLE_BASIC if option == "basic" else levels.ORT_ENABLE_ALL
    if "OMP_WAIT_POLICY" in os.environ:
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    disabled = [option.removeprefix("no ")] if option.startswith("no ") else []
    path, providers = str(folder / "model.onnx"), ["CPUExecutionProvider"]
    session = ort.InferenceSession(path, options, providers, disabled_optimizers=disabled)

    def run(ids: NDArray[np.int64], mask: NDArray[np.int64]) -> Any:
        feed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        return session.run(None, feed)[0]

    return _embedder(folder, run)


def ctranslate2(folder: Path, threads: int, _: str) -> Embed:
    """Load a converted model into CTranslate2, in int8."""
    import ctranslate2 as engine

    encoder = engine.Encoder(str(folder), device="cpu", compute_type="int8", inter_threads=1, intra_threads=threads)

    def run(ids: NDArray[np.int64], mask: NDArray[np.int64]) -> Any:
        texts = [row[:length].tolist() for row, length in zip(ids, mask.sum(1), strict=True)]
        return np.array(encoder.forward_batch(texts).last_hidden_state)

    return _embedder(folder, run)


def openvino(folder: Path, threads: int, option: str) -> Embed:
    """Load a converted model into OpenVINO; the option keeps float32 where it would compute in bfloat16."""
    import openvino as engine

    settings: dict[str, Any] = {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1}
    settings |= {"INFERENCE_PRECISION_HINT": "f32"} if option == "float32" else {}
    compiled = engine.Core().compile_model(str(folder / "model.xml"), "CPU", settings)
    request = compiled.create_infer_request()

    def run(ids: NDArray[np.int64], mask: NDArray[np.int64]) -> Any:
        feed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        return request.infer(feed, share_inputs=True)[0]

    return _embedder(folder, run)


def _embedder(folder: Path, run: Run) -> Embed:
    tokenizer = load_tokenizer(folder)

    def embed(texts: list[str], batch: int, by_length: bool) -> Any:  # noqa: FBT001
        tokens = [encoding.ids for encoding in tokenizer.encode_batch_fast(texts)]
        order = sorted(range(len(tokens)), key=lambda place: len(tokens[place])) if by_length else range(len(tokens))
        groups = [order[start : start + batch] for start in range(0, len(order), batch)]
        pooled = [_pool(run, [tokens[place] for place in group]) for group in groups]
        return restored(np.concatenate(pooled), order)

    return embed


def _pool(run: Run, texts: list[list[int]]) -> NDArray[np.float32]:
    ids = np.zeros((len(texts), max(map(len, texts))), np.int64)
    mask = np.zeros_like(ids)
    for row, text in enumerate(texts):
        ids[row, : len(text)], mask[row, : len(text)] = text, 1
    weights = mask.astype(np.float32)
    summed = np.matmul(weights[:, None], run(ids, mask))[:, 0]
    vectors: NDArray[np.float32] = summed / np.linalg.norm(summed, axis=1, keepdims=True)
    return vectors
