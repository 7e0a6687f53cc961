"""One contender in a process of its own: `python -m benchmarks.peers.worker KIND FOLDER THREADS`.

It reads one JSON list of texts a line, embeds them, and answers with the seconds that took and the first text's vector.
Imports stand inside, for no environment has them all.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Embed = Callable[[list[str]], Any]


def serverless_embeddings(_: Path, threads: int) -> Embed:
    """Load this project, with so many workers."""
    from handler.artifacts.resolver import load
    from handler.embedding.embedder import Embedder
    from handler.settings import Settings

    settings = Settings(workers=threads)
    embedder = Embedder(load(settings.models[0], settings), settings)
    return lambda texts: embedder.embed(texts).vectors


def onnxruntime(folder: Path, threads: int) -> Embed:
    """Load ONNX Runtime on the served graph, one text a run, and nothing else: the floor."""
    import onnxruntime as ort
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.graph_optimization_level = (
        ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    )  # as handler/embedding/inference.py has it
    session = ort.InferenceSession(str(folder / "model.onnx"), options)

    def one(ids: list[int]) -> Any:
        pooled = session.run(None, {"input_ids": np.array([ids]).T})[0][:, 0].mean(0)
        return pooled / np.linalg.norm(pooled)

    return lambda texts: [one(encoding.ids) for encoding in tokenizer.encode_batch_fast(texts)]


def fastembed(folder: Path, threads: int) -> Embed:
    """Load fastembed, fed the graph in the folder."""
    from fastembed import TextEmbedding

    name = "sentence-transformers/all-MiniLM-L6-v2"
    model = TextEmbedding(name, specific_model_path=str(folder), threads=threads)
    return lambda texts: list(model.embed(texts))


def sentence_transformers(folder: Path, threads: int) -> Embed:
    """Load sentence-transformers on PyTorch, at full precision."""
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(threads)
    model = SentenceTransformer(str(folder), device="cpu")
    return lambda texts: model.encode(texts, show_progress_bar=False)


KINDS = {each.__name__: each for each in (serverless_embeddings, onnxruntime, fastembed, sentence_transformers)}


def main(kind: str, folder: str, threads: str) -> None:
    """Answer until standard input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints is not an answer
    embed = KINDS[kind](Path(folder), int(threads))
    for line in sys.stdin:
        texts = json.loads(line)
        started = time.perf_counter()
        vectors = embed(texts)
        seconds = time.perf_counter() - started
        print(json.dumps({"seconds": seconds, "vector": np.asarray(vectors[0]).tolist()}), file=answers, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
