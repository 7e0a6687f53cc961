"""Print the vectors of every n-th golden text as float32, little-endian: python -m tests.processors.embed EVERY MODELS.

MODELS is the folder of the folder all-MiniLM-L6-v2.
"""

import json
import sys
from pathlib import Path

from handler.artifacts.resolver import load
from handler.embedding.embedder import Embedder
from handler.settings import Settings


def embed(every: int, models: Path) -> bytes:
    """Embed every n-th golden text, on one worker."""
    settings = Settings(artifacts=models)
    (model,) = settings.models
    rows = json.loads((settings.artifacts / model / "golden.json").read_text())["data"][::every]
    return (
        Embedder(load(model, settings), settings).embed([row["text"] for row in rows]).vectors.astype("<f4").tobytes()
    )


if __name__ == "__main__":
    sys.stdout.buffer.write(embed(int(sys.argv[1]), Path(sys.argv[2])))
