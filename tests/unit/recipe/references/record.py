"""Record the references: .venv-golden/bin/python -m tests.unit.recipe.references.record (after `make golden`)."""

import base64
import json
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file
from sentence_transformers import SentenceTransformer
from transformers import AutoConfig, AutoModel

from tests.architectures import CONFIGS, SMALL, TEXTS, token_ids, write_directory

LENGTHS, LONG_LENGTHS = (1, 2, 40, 256), (129, 400, 8192)
ROWS = 16  # of a sequence's hidden states, evenly distributed


def record(name: str, folder: Path) -> dict[str, Any]:
    """Return an architecture's configuration, the shapes of its weights, and what they make of tokens and texts."""
    small = {**SMALL, **CONFIGS[name]}
    AutoModel.from_config(AutoConfig.for_model(**small)).save_pretrained(folder / "shapes")
    config = json.loads((folder / "shapes/config.json").read_text())
    shapes = {each: list(array.shape) for each, array in load_file(folder / "shapes/model.safetensors").items()}
    directory = write_directory(folder / name, name, config, shapes)

    model = AutoModel.from_pretrained(directory, dtype=torch.float32).eval()
    hidden = {}
    for length in LENGTHS + (LONG_LENGTHS if model.config.max_position_embeddings == 8192 else ()):
        with torch.no_grad():
            states = model(input_ids=torch.tensor(token_ids(length)[None])).last_hidden_state[0].numpy()
        hidden[str(length)] = encode(states[np.linspace(0, length - 1, min(length, ROWS)).astype(int)])
    vectors = SentenceTransformer(str(directory), device="cpu").encode(TEXTS, batch_size=1)
    return {"config": config, "shapes": shapes, "hidden": hidden, "vectors": encode(vectors)}


def encode(values: NDArray[np.float32]) -> str:
    """Encode an array as base64 of little-endian float32."""
    return base64.b64encode(values.astype("<f4").tobytes()).decode()


def main() -> None:
    """Write a file for each architecture."""
    recorded_with = {package: version(package) for package in ("transformers", "sentence-transformers", "torch")}
    for name in CONFIGS:
        with tempfile.TemporaryDirectory() as folder:
            content = {"recorded_with": recorded_with, **record(name, Path(folder))}
        Path(__file__).with_name(f"{name}.json").write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
