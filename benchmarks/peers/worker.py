"""One embedder in its own process: `python -m benchmarks.peers.worker KIND FOLDER THREADS OPTION`.

It reads one JSON object per line: texts, texts per batch, whether to sort them by length, and whether to return every
vector or the first text's. It prints one per line: seconds by the clock, seconds of processor time, vectors. Each
embedder imports its packages inside its function, because no environment has all of them.
"""

import base64
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers.engines import Embed, ctranslate2, load_tokenizer, openvino, plain, restored


def serverless_embeddings(_: Path, threads: int, __: str) -> Embed:
    """Load this project with one worker per thread; a batch of 1 is a call for each text."""
    from handler.artifacts.resolver import load
    from handler.embedding.embedder import Embedder
    from handler.settings import Settings

    settings = Settings(workers=threads)
    embedder = Embedder(load(settings.models[0], settings), settings)

    def embed(texts: list[str], batch: int, _: bool) -> Any:  # noqa: FBT001
        size = batch or len(texts)
        calls = [embedder.embed(texts[start : start + size]).vectors for start in range(0, len(texts), size)]
        return np.concatenate(calls)

    return embed


def onnxruntime(folder: Path, threads: int, _: str) -> Embed:
    """Load the baseline: ONNX Runtime with the served graph, one text per run."""
    import onnxruntime as ort

    tokenizer = load_tokenizer(folder)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    # The same level as in handler/embedding/inference.py.
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(str(folder / "model.onnx"), options)

    def embed_one(ids: list[int]) -> Any:
        pooled = session.run(None, {"input_ids": np.array([ids]).T})[0][:, 0].mean(0)
        return pooled / np.linalg.norm(pooled)

    return lambda texts, _, __: [embed_one(encoding.ids) for encoding in tokenizer.encode_batch_fast(texts)]


def fastembed(folder: Path, threads: int, _: str) -> Embed:
    """Load fastembed with the graph in the folder."""
    from fastembed import TextEmbedding

    name = "sentence-transformers/all-MiniLM-L6-v2"
    model = TextEmbedding(name, specific_model_path=str(folder), threads=threads)

    def embed(texts: list[str], batch: int, by_length: bool) -> Any:  # noqa: FBT001
        if not by_length:
            return list(model.embed(texts, batch_size=batch))
        order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
        return restored(np.array(list(model.embed([texts[place] for place in order], batch_size=batch))), order)

    return embed


def sentence_transformers(folder: Path, threads: int, _: str) -> Embed:
    """Load sentence-transformers on PyTorch, at full precision; it sorts texts by length itself."""
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(threads)
    model = SentenceTransformer(str(folder), device="cpu")
    return lambda texts, batch, _: model.encode(texts, batch_size=batch, show_progress_bar=False)


EMBEDDERS = (serverless_embeddings, onnxruntime, fastembed, sentence_transformers, plain, ctranslate2, openvino)
KINDS = {each.__name__: each for each in EMBEDDERS}


def main(kind: str, folder: str, threads: str, option: str) -> None:
    """Embed each line of standard input until it ends."""
    results = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # keeps the libraries' own output out of the results
    embed = KINDS[kind](Path(folder), int(threads), option)
    for line in sys.stdin:
        request = json.loads(line)
        started, used = time.perf_counter(), time.process_time()
        vectors = embed(request["texts"], request["batch"], request["by_length"])
        seconds, cpu = time.perf_counter() - started, time.process_time() - used
        content = np.asarray(vectors if request["every"] else vectors[0], np.float32)
        result = {"seconds": seconds, "cpu": cpu, "size": content.shape[-1]}
        result["vectors"] = base64.b64encode(content.tobytes()).decode()
        print(json.dumps(result), file=results, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
