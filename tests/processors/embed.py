"""Print the vectors of every n-th golden text as float32, little-endian: python -m tests.processors.embed EVERY MODELS.

MODELS is the folder of the folder all-MiniLM-L6-v2.
"""

import json
import sys
from pathlib import Path

import numpy as np

from handler.artifacts.resolver import load
from handler.embedding.embedder import Embedder
from handler.embedding.inference import InferenceSession
from handler.settings import Settings


def embed(every: int, models: Path) -> bytes:
    """Embed every n-th golden text, on one worker; check first that a run of two threads has the bits of one."""
    settings = Settings(artifacts=models)
    (model,) = settings.models
    rows = json.loads((settings.artifacts / model / "golden.json").read_text())["data"][::every]
    artifacts, token_ids = load(model, settings), np.arange(2000, 2100)[:, None]
    one, two = (InferenceSession(artifacts.model, threads).run(token_ids) for threads in (1, 2))
    np.testing.assert_array_equal(one, two)
    return Embedder(artifacts, settings).embed([row["text"] for row in rows]).vectors.astype("<f4").tobytes()


if __name__ == "__main__":
    sys.stdout.buffer.write(embed(int(sys.argv[1]), Path(sys.argv[2])))
