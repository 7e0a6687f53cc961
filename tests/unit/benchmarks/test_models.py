"""The tables of docs/models.md are the shelf and the measured figures; estimates of memory are upper bounds."""

from dataclasses import replace

import pytest

from benchmarks.models import LOAD, run
from benchmarks.report import models, readme
from handler.artifacts.manifest import MANIFEST_FILE, MODEL_FILE, TOKENIZER_FILE, File, Manifest
from handler.models import memory
from handler.settings import BUNDLED
from model_artifacts.recipe import shelf
from tests import tiny

FIGURES = models.read()
FACTOR, CONSTANT = memory.MARGIN


def test_page_has_the_shelf_and_the_measured_figures():
    assert readme.written(models.BEGIN, models.PAGE) == models.tables()


def test_only_models_that_were_tried_have_figures():
    assert set(FIGURES) <= {name for name, entry in shelf.read().items() if entry.tried}
    assert next(iter(FIGURES)) == shelf.BUNDLED


def test_figures_of_the_bundled_model_are_those_of_its_manifest():
    content = (BUNDLED / shelf.BUNDLED / MANIFEST_FILE).read_bytes()
    assert FIGURES[shelf.BUNDLED]["quality"] == models.quality(Manifest.parse(content))


def check(manifest: Manifest, figures: dict[str, float]) -> None:
    """Check that both estimates are upper bounds of measured figures, within the margin."""
    for estimate, name in ((memory.serving, "serving_mb"), (memory.loading, "loading_mb")):
        measured = figures[name] * 2**20
        assert measured < estimate(manifest) < FACTOR * measured + CONSTANT


@pytest.mark.parametrize("name", [shelf.BUNDLED, "tiny"])
def test_memory_is_estimated_from_above_and_within_the_margin(name, tmp_path):
    folder = BUNDLED / name if name == shelf.BUNDLED else tiny.save_model(tmp_path)
    check(Manifest.parse((folder / MANIFEST_FILE).read_bytes()), run(LOAD, {"MODELS": str(folder)}))


@pytest.mark.parametrize("name", FIGURES)
def test_recorded_memory_is_estimated_so_too(name):
    sizes = {MODEL_FILE: FIGURES[name]["size_mb"], TOKENIZER_FILE: FIGURES[name]["tokenizer_mb"]}
    files = {file: File(int(size * 1e6), "0" * 64) for file, size in sizes.items()}
    check(replace(tiny.artifacts().manifest, files=files), FIGURES[name])
