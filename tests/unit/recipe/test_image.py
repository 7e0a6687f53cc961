"""`make image`: which model the next image contains."""

import sys
from pathlib import Path

import pytest

from handler.artifacts.manifest import MODEL_FILE
from handler.artifacts.resolver import load
from handler.settings import Settings
from model_artifacts.recipe import image
from tests import tiny


@pytest.fixture
def models(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.setattr(image, "IMAGE", tmp_path / "image")
    monkeypatch.setattr(image, "BUILT", tmp_path / "models")
    tiny.save_model(tmp_path / "models")
    (tmp_path / "models/tiny/golden.json").write_text("{}")
    return tmp_path / "models"


def make_image(model: str, monkeypatch) -> str:
    """Run the command; return the line with which it fails."""
    monkeypatch.setattr(sys, "argv", ["image", "--model", model])
    try:
        image.main()
    except SystemExit as ended:
        return str(ended.code)
    return ""


def test_an_image_contains_exactly_the_chosen_model(models, monkeypatch, capsys):
    assert make_image("all-MiniLM-L6-v2", monkeypatch) == ""
    assert [path.name for path in image.IMAGE.iterdir()] == ["all-MiniLM-L6-v2"]
    for model in ("tiny", str(models / "tiny")):
        assert make_image(model, monkeypatch) == ""
        files = sorted(str(path.relative_to(image.IMAGE)) for path in image.IMAGE.rglob("*") if path.is_file())
        assert files == ["tiny/manifest.json", "tiny/model.onnx", "tiny/tokenizer.json"]
    reference = f"tiny@sha256:{load('tiny', Settings(artifacts=image.IMAGE)).digest}"
    printed = capsys.readouterr().out
    assert (
        f"{image.IMAGE} contains {reference}, and nothing else\nbuild it:  sam build --parameter-overrides " in printed
    )
    assert f" ImageModels={image.IMAGE} Models={reference}\n" in printed


def test_a_model_that_does_not_exist_or_is_damaged_is_one_line(models, monkeypatch):
    assert make_image("tiny", monkeypatch) == ""
    line = make_image("nothing", monkeypatch)
    assert line.startswith("make image: MODEL is 'nothing': there is no such model; choose all-MiniLM-L6-v2, ")
    (models / "tiny" / MODEL_FILE).write_bytes(b"x")
    assert make_image("tiny", monkeypatch).startswith(
        f"make image: {models}/tiny/model.onnx: 1 bytes, and its manifest "
    )
    (models / "tiny/manifest.json").write_text("{}")
    assert make_image("tiny", monkeypatch) == "make image: its schema is None and this version reads 1"
    assert (image.IMAGE / "tiny" / MODEL_FILE).stat().st_size > 1  # what was chosen before remains
