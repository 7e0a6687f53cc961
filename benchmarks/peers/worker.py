"""One embedder in its own process: `python -m benchmarks.peers.worker KIND FOLDER THREADS`.

It reads one JSON list of texts per line and prints one JSON object per line: the seconds that embedding took, and the
first text's vector. Each embedder imports its packages inside its function, because no environment has all of them.
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
    """Load this project with one worker per thread."""
    from handler.artifacts.resolver import load
    from handler.embedding.embedder import Embedder
    from handler.settings import Settings

    settings = Settings(workers=threads)
    embedder = Embedder(load(settings.models[0], settings), settings)
    return lambda texts: embedder.embed(texts).vectors


def onnxruntime(folder: Path, threads: int) -> Embed:
    """Load the baseline: ONNX Runtime with the served graph, one text per run."""
    import onnxruntime as ort
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    # The same level as in handler/embedding/inference.py.
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(str(folder / "model.onnx"), options)

    def embed_one(ids: list[int]) -> Any:
        pooled = session.run(None, {"input_ids": np.array([ids]).T})[0][:, 0].mean(0)
        return pooled / np.linalg.norm(pooled)

    return lambda texts: [embed_one(encoding.ids) for encoding in tokenizer.encode_batch_fast(texts)]


def fastembed(folder: Path, threads: int) -> Embed:
    """Load fastembed with the graph in the folder."""
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
    """Embed each line of standard input until it ends."""
    results = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # keeps the libraries' own output out of the results
    embed = KINDS[kind](Path(folder), int(threads))
    for line in sys.stdin:
        texts = json.loads(line)
        started = time.perf_counter()
        vectors = embed(texts)
        seconds = time.perf_counter() - started
        print(json.dumps({"seconds": seconds, "vector": np.asarray(vectors[0]).tolist()}), file=results, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
