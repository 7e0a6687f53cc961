import re
import subprocess

import pytest

from handler.artifacts.manifest import NAME
from handler.artifacts.resolver import load
from handler.settings import Settings
from model_artifacts.recipe import shelf
from model_artifacts.recipe.configuration import SourceError
from tests.emulator import ROOT


def test_every_entry_names_a_model_and_where_its_figures_are_from():
    entries = shelf.read()
    assert len(entries) >= 10
    for name, entry in entries.items():
        assert re.fullmatch(NAME, name)
        assert entry.source.count("/") == 1
        assert entry.revision is None or re.fullmatch("[0-9a-f]{40}", entry.revision)
        assert not entry.mteb or entry.mteb["source"].startswith("https://")
        assert not entry.mteb or {"version", "source"} < set(entry.mteb) <= {
            "version",
            "source",
            "average",
            "retrieval",
        }


def test_the_bundled_model_is_on_the_shelf_as_its_manifest_describes_it():
    manifest, entry = load(shelf.BUNDLED, Settings()).manifest, shelf.read()[shelf.BUNDLED]
    assert (entry.dimensions, entry.tokens, entry.pooling) == (
        manifest.dimensions,
        manifest.max_tokens,
        manifest.pooling,
    )
    assert manifest.provenance["source"].startswith(entry.source)


def test_unknown_field_is_refused(monkeypatch, tmp_path):
    (tmp_path / "models.toml").write_text(shelf.FILE.read_text() + "dimension = 3\n")
    monkeypatch.setattr(shelf, "FILE", tmp_path / "models.toml")
    with pytest.raises(TypeError, match="dimension"):
        shelf.read()


def test_option_stands_for_the_options_of_an_entry():
    options = shelf.expand(["--sts", "file", "--shelf", "e5-small-v2", "--name", "mine"], "source", "name", "prompts")
    assert options == [
        *("--source", "intfloat/e5-small-v2", "--name", "e5-small-v2"),
        *("--prompts", '{"query": "query: ", "passage": "passage: "}'),
        *("--sts", "file", "--name", "mine"),
    ]
    assert "--prompts" not in shelf.expand(["--shelf", "gte-small"], "source", "prompts")
    revision = shelf.read()["gte-small"].revision
    assert shelf.expand(["--shelf", "gte-small"], "revision") == ["--revision", revision]
    assert shelf.expand(["--source", "x"], "source") == ["--source", "x"]
    assert shelf.expand(["--shelf", "gte-small", "--source", "x"], "source", "revision") == ["--source", "x"]


@pytest.mark.parametrize("arguments", [["--shelf", "e5"], ["--shelf"]])
def test_unknown_entry_is_refused_with_those_that_exist(arguments):
    with pytest.raises(SourceError, match=r"SHELF=.*no such model, but all-MiniLM-L6-v2, .*gte-small"):
        shelf.expand(arguments, "source")


def test_make_lists_the_shelf_and_refuses_a_name_that_is_not_on_it():
    listed = subprocess.check_output(["make", "--silent", "models-shelf"], cwd=ROOT, text=True)
    for name, entry in shelf.read().items():
        assert re.search(rf"^{re.escape(name)} .* {entry.license} ", listed, re.MULTILINE)
    refused = subprocess.run(["make", "model", "SHELF=none"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert refused.returncode
    assert "make model: SHELF=none: the shelf has no such model" in refused.stderr
