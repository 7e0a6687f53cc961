"""All steps of the recipe, from a Hugging Face directory to a loaded model."""

import subprocess
import sys
from pathlib import Path

import pytest

from handler.artifacts.resolver import load
from handler.embedding.embedder import Embedder
from handler.settings import Settings
from model_artifacts.recipe import __main__ as recipe
from model_artifacts.recipe import golden, source
from model_artifacts.recipe.build import Order, build
from model_artifacts.recipe.configuration import SourceError
from model_artifacts.recipe.origin import Origin
from model_artifacts.recipe.quantize import Tier
from tests import tiny
from tests.emulator import ROOT

TEXTS = ["the food was good", "a b c", "z", "a b c d e f g h i j k l m n"]


@pytest.fixture
def directory(tmp_path: Path, monkeypatch) -> Path:
    """Write a source directory, and the golden.json that sentence-transformers would record for it."""
    folder = tiny.write_directory(tmp_path / "source" / "tiny-bert")
    monkeypatch.setattr(golden, "BUILT", tmp_path / "models")
    tiny.record_golden(tmp_path / "models/tiny-bert/golden.json", folder, TEXTS)
    return folder


def build_from(directory: Path, tier: Tier = "fast", *, full_precision: bool = False) -> None:
    parsed = source.read(directory)
    path = golden.golden_file(parsed.id, directory)
    build(parsed, Order(path, path.parent, Origin(), tier=tier), full_precision=full_precision)


def test_build_makes_a_loadable_model_with_the_sources_configuration(directory, tmp_path):
    build_from(directory)
    loaded = load("tiny-bert", Settings(artifacts=tmp_path / "models"))
    assert (loaded.manifest.pooling, loaded.manifest.max_tokens, loaded.manifest.dimensions) == ("cls", 12, tiny.HIDDEN)
    assert loaded.manifest.provenance["weights_sha256"] == source.sha256(directory / "model.safetensors")
    assert loaded.manifest.quality["golden"]["texts"] == len(TEXTS)
    assert Embedder(loaded, Settings()).embed(["the food"], prompt_name="query").tokens > 4
    build_from(directory)
    assert load("tiny-bert", Settings(artifacts=tmp_path / "models")).digest == loaded.digest


def test_manifest_has_the_tier_and_the_largest_attention_score(directory, tmp_path):
    build_from(directory)
    fast = load("tiny-bert", Settings(artifacts=tmp_path / "models")).manifest
    build_from(directory, "quality")
    fine = load("tiny-bert", Settings(artifacts=tmp_path / "models")).manifest
    assert (fast.provenance["tier"], fine.provenance["tier"]) == ("fast", "quality")
    assert fine.quality["golden"]["cosine_mean"] > fast.quality["golden"]["cosine_mean"]
    assert fine.quality["attention"] == fast.quality["attention"]
    attention = fine.quality["attention"]
    assert 0 < attention["largest_score"] < attention["limit"]
    assert attention["exact_layers"] == 0


def test_build_rejects_reference_vectors_of_other_weights(directory, tmp_path):
    path = tmp_path / "models/tiny-bert/golden.json"
    path.write_text(path.read_text().replace(source.sha256(directory / "model.safetensors"), "0" * 64))
    with pytest.raises(SourceError, match="recorded from other weights; record it again with make golden"):
        build_from(directory)


def test_missing_reference_vectors_error_names_the_remedy(directory, tmp_path):
    (tmp_path / "models/tiny-bert/golden.json").unlink()
    with pytest.raises(SourceError, match="no such file; record it with make golden"):
        build_from(directory)


def test_full_precision_model_gets_its_own_name(directory, tmp_path):
    build_from(directory, full_precision=True)
    loaded = load("tiny-bert-float32", Settings(artifacts=tmp_path / "models"))
    assert loaded.manifest.aliases == ()
    assert loaded.manifest.quality["golden"]["cosine_min"] > 0.99999


def test_command_reports_an_incomplete_source_in_one_line(tmp_path):
    command = [sys.executable, "-m", "model_artifacts.recipe", "--source", str(tmp_path)]
    failed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert failed.returncode == 1
    assert failed.stderr == f"make model: {tmp_path / 'config.json'}: no such file\n"


@pytest.mark.parametrize("prompts", ["query: ", "[]", '{"query": 1}'])
def test_command_reports_prompts_that_are_no_object_of_texts_in_one_line(prompts):
    command = [sys.executable, "-m", "model_artifacts.recipe", "--prompts", prompts]
    failed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (failed.returncode, len(failed.stderr.splitlines())) == (1, 1)
    assert failed.stderr.startswith(f"make model: PROMPTS is {prompts}: write a JSON object of texts by name, such as ")


def test_command_reports_a_missing_sts_file_in_one_line_before_any_step():
    command = [sys.executable, "-m", "model_artifacts.recipe", "--sts", "nosuch.tsv.gz"]
    failed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (failed.returncode, failed.stdout, len(failed.stderr.splitlines())) == (1, "", 1)
    assert failed.stderr.startswith("make model: STS=nosuch.tsv.gz is not a split of STS-B, a gzipped table of ")


def test_the_pinned_package_has_its_upstreams_name_and_the_cards_licence(tmp_path, monkeypatch):
    (tmp_path / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    monkeypatch.setattr(source, "default_directory", lambda: tmp_path)
    monkeypatch.setattr(source, "read", lambda *_: None)
    monkeypatch.setattr("sys.argv", ["recipe"])
    orders = []
    monkeypatch.setattr(recipe, "build", lambda _, order, **__: orders.append(order))
    recipe.main()
    assert orders[0].origin == Origin("sentence-transformers/all-MiniLM-L6-v2", "unknown", "apache-2.0")
    assert orders[0].golden == ROOT / "model_artifacts/all-MiniLM-L6-v2/golden.json"

    def fail(*_: object, **__: object) -> None:
        raise KeyError("bug")

    monkeypatch.setattr(recipe, "build", fail)
    with pytest.raises(KeyError, match="bug"):  # its files are known: this is a bug, and needs its traceback
        recipe.main()
