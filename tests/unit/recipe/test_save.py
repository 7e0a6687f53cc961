import json
from dataclasses import replace

import pytest

from handler.artifacts.manifest import MODEL_FILE, TOKENIZER_FILE
from handler.artifacts.resolver import load
from handler.settings import Settings
from model_artifacts.recipe.save import describe, save
from model_artifacts.recipe.verify import Figures
from tests import tiny

FILES = {MODEL_FILE: tiny.artifacts().model[:], TOKENIZER_FILE: tiny.artifacts().tokenizer}
GOLDEN: dict[str, Figures] = {"golden": {"texts": 4}}
STS: dict[str, Figures] = {"sts-b-dev": {"texts": 8}}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "tiny").mkdir()
    return tmp_path / "tiny"


def test_save_returns_the_manifests_digest_and_is_idempotent(folder):
    digest = save(folder, tiny.artifacts().manifest, FILES, GOLDEN)
    assert load("tiny", Settings(artifacts=folder.parent)).digest == digest
    assert save(folder, tiny.artifacts().manifest, FILES, GOLDEN) == digest


def test_save_keeps_earlier_figures_only_while_the_files_are_unchanged(folder):
    manifest = tiny.artifacts().manifest
    digest = save(folder, manifest, FILES, GOLDEN | STS)
    assert save(folder, manifest, FILES, GOLDEN) == digest
    other = {**FILES, MODEL_FILE: b"other"}
    files = {**manifest.files, MODEL_FILE: describe(b"other")}
    save(folder, replace(manifest, files=files), other, GOLDEN)
    assert json.loads((folder / "manifest.json").read_text())["quality"] == GOLDEN


def test_save_keeps_no_figures_of_another_calibration(folder):
    manifest = tiny.artifacts().manifest
    save(folder, manifest, FILES, GOLDEN | STS)
    save(folder, replace(manifest, calibration={"int8": 20.0}), FILES, GOLDEN)
    assert json.loads((folder / "manifest.json").read_text())["quality"] == GOLDEN


def test_save_leaves_a_model_that_is_being_loaded_as_it_was(folder):
    manifest = tiny.artifacts().manifest
    save(folder, manifest, FILES, GOLDEN)
    loading = load("tiny", Settings(artifacts=folder.parent))
    other = {**FILES, MODEL_FILE: b"other"}
    save(folder, replace(manifest, files={**manifest.files, MODEL_FILE: describe(b"other")}), other, GOLDEN)
    assert loading.model[:] == FILES[MODEL_FILE]
