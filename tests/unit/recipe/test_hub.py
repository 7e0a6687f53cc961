"""`make model SOURCE=owner/name`, with huggingface_hub and a Hub on loopback."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from handler.artifacts.manifest import Manifest
from model_artifacts.recipe.configuration import SourceError
from model_artifacts.recipe.hub import locate
from tests import hub, tiny
from tests.emulator import ROOT, clean_environment
from tests.hub import COMMIT, Hub

CARD = "---\nlicense: apache-2.0\ntags: [a]\n---\n# A tiny model\n"
UNREAD = ["pytorch_model.bin", "onnx/model.onnx", "onnx/config.json", "vocab.txt", "a/b/config.json"]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Hub]:
    folder = tiny.write_directory(tmp_path / "repository")
    (folder / "README.md").write_text(CARD)
    for name in UNREAD:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"unread")
    without = tmp_path / "without"
    without.mkdir()
    (without / "pytorch_model.bin").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    repositories = {"someone/tiny": folder, "someone/bin": without, "someone/empty": tmp_path / "empty"}
    with hub.serve(repositories) as running:
        yield running


def make_model(hub: Hub, tmp_path: Path, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    variables = {**clean_environment(), **hub.environment(tmp_path / "cache"), "PYTHONPATH": str(ROOT), **environment}
    command = [sys.executable, "-m", "model_artifacts.recipe", *arguments]
    return subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("revision", ["v1", None])
def test_a_model_of_the_hub_is_built_from_its_commit(served, tmp_path, revision):
    directory = served.repositories["someone/tiny"]
    path = tiny.record_golden(
        tmp_path / "build/models/tiny/golden.json",
        directory,
        ["the food was good", "a b c", "z", "a b c d e f g h i j k l m n"],
    )
    done = make_model(served, tmp_path, "--source", "someone/tiny", *(["--revision", revision] if revision else []))
    assert (done.returncode, done.stderr) == (0, "")
    manifest = Manifest.parse((path.parent / "manifest.json").read_bytes())
    provenance = {name: manifest.provenance[name] for name in ("upstream", "revision", "license")}
    assert provenance == {"upstream": "someone/tiny", "revision": COMMIT, "license": "apache-2.0"}
    assert manifest.id == "tiny"
    assert manifest.prompts == {"query": "query: ", "passage": "passage: "}
    assert not set(UNREAD) & set(served.downloaded)
    assert {"model.safetensors", "1_Pooling/config.json"} <= set(served.downloaded)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["someone/nothing"], "no such directory, and no such model on the Hub; if it is private, set HF_TOKEN"),
        (["someone/gated"], "it is gated; accept its terms on the Hub, and set HF_TOKEN"),
        (
            ["someone/bin"],
            "it has no model.safetensors on the Hub, and the recipe reads no other weights; it has pytorch",
        ),
        (
            ["someone/empty"],
            "it has no model.safetensors on the Hub, and the recipe reads no other weights; it has no files",
        ),
        (["someone/tiny", "--revision", "v9"], "it has no revision v9 on the Hub"),
        (["someone/broken"], "no such directory, and the download from the Hub failed: Server error '500 "),
    ],
)
def test_what_the_hub_refuses_is_one_line(served, tmp_path, arguments, words):
    failed = make_model(served, tmp_path, "--source", *arguments)
    assert (failed.returncode, len(failed.stderr.splitlines())) == (1, 1), failed.stderr
    assert failed.stderr.startswith(f"make model: {arguments[0]}: {words}")


@pytest.mark.parametrize("environment", [{"HF_ENDPOINT": "http://127.0.0.1:1"}, {"HF_HUB_OFFLINE": "1"}], ids=str)
def test_no_network_is_one_line(served, tmp_path, environment):
    failed = make_model(served, tmp_path, "--source", "someone/tiny", **environment)
    assert (failed.returncode, len(failed.stderr.splitlines())) == (1, 1), failed.stderr
    assert failed.stderr.startswith(
        "make model: someone/tiny: no such directory, and the download from the Hub failed: "
    )


def test_a_source_that_is_neither_a_directory_nor_a_repository_is_refused(tmp_path):
    with pytest.raises(
        SourceError, match="a/b/c: no such directory, and no model on the Hub, which would be owner/name"
    ):
        locate("a/b/c")
    with pytest.raises(SourceError, match=r"REVISION is of a model on the Hub, and .* is a directory"):
        locate(str(tmp_path), "main")
    assert locate(str(tmp_path)) == tmp_path
