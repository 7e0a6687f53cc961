"""Every file of a source is removed, cut and changed, field by field: the recipe builds the model, or says one line."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from model_artifacts.recipe import __main__ as recipe
from model_artifacts.recipe import build, golden
from tests import exported, tiny
from tests.emulator import ROOT

TEXTS = ["the food was good", "a b c", "z"]
GARBAGE = [b"", b"\0" * 100, b"\xff\xfe{}", b"null", b"[]", b"{}", b"5", b'"x"', b"[" * 100_000, b'[{"type": "x"}]']
VALUES = [None, -1, 0, 3, 10**9, 10**400, 0.5, True, "x", "", [], [1], {}, {"x": 1}, {"query": "x" * 600}]


@pytest.fixture
def source(tmp_path: Path, monkeypatch) -> Path:
    """Write a directory with weights, and its reference vectors; the model is not quantized, which takes seconds."""
    folder = tiny.write_directory(tmp_path / "tiny-bert")
    tiny.write_json(folder / "tokenizer_config.json", {"model_max_length": 12})
    (folder / "README.md").write_text("---\nlicense: mit\n---\n")
    tiny.record_golden(tmp_path / "models/tiny-bert/golden.json", folder, TEXTS)
    monkeypatch.setattr(golden, "BUILT", tmp_path / "models")
    monkeypatch.setattr(build, "quantize", lambda full, *_, **__: full)
    return folder


@pytest.fixture
def graph(tmp_path: Path, monkeypatch) -> Path:
    """Write a directory with a graph, and its reference vectors."""
    folder = exported.write_directory(tmp_path / "tiny-onnx", exported.model())
    vectors = exported.vectors((folder / "onnx/model.onnx").read_bytes(), TEXTS)
    tiny.write_golden(tmp_path / "models/tiny-onnx/golden.json", TEXTS, vectors)
    monkeypatch.setattr(golden, "BUILT", tmp_path / "models")
    return folder


@pytest.fixture
def outcome(monkeypatch, capsys) -> Callable[[str, Path], str]:
    """Return a function that builds a model, and returns the line that the command ends with; empty if it succeeds."""

    def make_model(option: str, folder: Path) -> str:
        monkeypatch.setattr(sys, "argv", ["recipe", option, str(folder)])
        try:
            recipe.main()
        except SystemExit as ended:
            line = str(ended.code)
            assert line.startswith("make model: "), line
            assert len(line.splitlines()) == 1, line
            assert len(line) < 2000, line
            return line
        finally:
            capsys.readouterr()
        return ""

    return make_model


def damaged(path: Path) -> Iterator[str]:
    """Damage a file in every way, one after the other; yield what was done to it."""
    whole = path.read_bytes()
    path.unlink()
    yield "removed"
    path.mkdir()
    yield "a folder"
    path.rmdir()
    for content in (*GARBAGE, whole[: len(whole) // 2], whole[:-1], whole[1:]):
        path.write_bytes(content)
        yield f"{content[:20]!r}"
    if path.suffix == ".json" and isinstance(fields := json.loads(whole), dict):
        for field in fields:
            tiny.write_json(path, {name: value for name, value in fields.items() if name != field})
            yield f"without {field}"
            for value in VALUES:
                tiny.write_json(path, fields | {field: value})
                yield f"{field} = {value!r:.20}"
    path.write_bytes(whole)


SOURCE_FILES = [
    "config.json",
    "model.safetensors",
    "tokenizer.json",
    "modules.json",
    "1_Pooling/config.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "tokenizer_config.json",
    "README.md",
    "../models/tiny-bert/golden.json",
]
MANDATORY = {"config.json", "model.safetensors", "tokenizer.json", "../models/tiny-bert/golden.json"}


@pytest.mark.parametrize("file", SOURCE_FILES)
def test_a_damaged_source_is_one_line(source, outcome, file):
    assert outcome("--source", source) == ""
    outcomes = {done: outcome("--source", source) for done in damaged(source / file)}
    accepted = {done for done in outcomes if not outcomes[done] and " = " not in done and "without" not in done}
    assert not (accepted if file in MANDATORY else set())
    assert len(set(outcomes.values())) > 1
    assert outcome("--source", source) == ""


@pytest.mark.parametrize(
    "file", ["config.json", "onnx/model.onnx", "tokenizer.json", "../models/tiny-onnx/golden.json"]
)
def test_a_damaged_graph_is_one_line(graph, outcome, file):
    assert outcome("--onnx", graph) == ""
    outcomes = {done: outcome("--onnx", graph) for done in damaged(graph / file)}
    assert len(set(outcomes.values())) > 1
    assert outcome("--onnx", graph) == ""


def test_a_full_disk_is_one_line_and_leaves_no_manifest(source, tmp_path):
    """The limit on a file's size stands for it: the model has 56 kB, the other files less."""
    code = f"""
import resource, runpy, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))
sys.argv[1:] = ["--source", {str(source)!r}]
runpy.run_module("model_artifacts.recipe", run_name="__main__")
"""
    variables = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    (tmp_path / "build").mkdir()
    (tmp_path / "models").rename(tmp_path / "build/models")
    failed = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=variables, capture_output=True, text=True, check=False
    )
    assert (failed.returncode, failed.stderr.splitlines()) == (
        1,
        ["make model: [Errno 27] File too large: 'build/models/tiny-bert'"],
    )
    assert not (tmp_path / "build/models/tiny-bert/manifest.json").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--onnx", "nowhere"], "ONNX=nowhere: no such directory"),
        (["--onnx", ".", "--source", "."], "ONNX=.: SOURCE is another way to name a model"),
        (["--file", "model.onnx"], "FILE is one of the graphs in ONNX=DIR, which is missing"),
        (["--revision", "main"], "REVISION is of SOURCE=owner/name, which is missing"),
    ],
)
def test_variables_that_do_not_fit_together_are_one_line(monkeypatch, arguments, words):
    monkeypatch.setattr(sys, "argv", ["recipe", *arguments])
    with pytest.raises(SystemExit) as ended:
        recipe.main()
    assert ended.value.code == f"make model: {words}"
