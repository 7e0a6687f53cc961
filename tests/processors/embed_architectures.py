"""Print the vectors of some texts by every model in a folder: python -m tests.processors.embed_architectures FOLDER."""

import sys
from pathlib import Path

from handler.artifacts.resolver import load
from handler.embedding.embedder import Embedder
from handler.settings import Settings
from tests.architectures import TEXTS


def embed(folder: Path) -> bytes:
    """Embed the texts by each model, on one worker; return float32, little-endian."""
    settings = Settings(artifacts=folder, long_input="truncate")
    models = [Embedder(load(path.name, settings), settings) for path in sorted(folder.iterdir())]
    return b"".join(model.embed(TEXTS).vectors.astype("<f4").tobytes() for model in models)


if __name__ == "__main__":
    sys.stdout.buffer.write(embed(Path(sys.argv[1])))
