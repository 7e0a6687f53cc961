"""The tiny model as a folder, for what loads its model by a reference."""

from dataclasses import replace
from pathlib import Path

import pytest

from handler.artifacts.manifest import MODEL_FILE, TOKENIZER_FILE
from model_artifacts.recipe.save import describe, save
from tests import tiny


@pytest.fixture
def tiny_model(tmp_path: Path) -> str:
    """Save the tiny model to a folder; return its reference."""
    files = {MODEL_FILE: tiny.artifacts().model, TOKENIZER_FILE: tiny.artifacts().tokenizer}
    described = {name: describe(content) for name, content in files.items()}
    folder = tmp_path / "models/tiny"
    folder.mkdir(parents=True)
    save(folder, replace(tiny.artifacts().manifest, files=described), files, {})
    return str(folder)
