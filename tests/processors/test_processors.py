"""The same texts on this and on an emulated processor: bit-identical on x86, nearly identical on arm64."""

import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from model_artifacts.recipe import source as sources
from model_artifacts.recipe.build import Order, build
from model_artifacts.recipe.export import export
from model_artifacts.recipe.golden import BUNDLED
from model_artifacts.recipe.origin import Origin
from model_artifacts.recipe.quantize import quantize
from tests import architectures, tiny
from tests.emulator import ROOT
from tests.processors.embed import embed
from tests.processors.embed_architectures import embed as embed_architectures

MIN_COSINE_X86 = 0.99999
# On arm64 the compiler fuses multiplications and additions; a last bit can change a rounding to int8 and later layers.
MIN_COSINE_ARM64 = 0.998
ARM64 = ROOT / "build" / "arm64"
DIMENSIONS = 384
MODEL = "all-MiniLM-L6-v2"
HASWELL = ["qemu-x86_64", "-cpu", "Haswell", sys.executable]


@pytest.fixture(scope="session")
def every(request) -> int:
    given: int = request.config.getoption("--every")
    return given


@cache
def local_vectors(every: int, models: Path) -> NDArray[np.float32]:
    return np.frombuffer(embed(every, models), "<f4").reshape(-1, DIMENSIONS)


@pytest.fixture(scope="session")
def quality(tmp_path_factory) -> Path:
    """Build the bundled model's quality tier; return the folder of its folder."""
    models: Path = tmp_path_factory.mktemp("models")
    folder = shutil.copytree(BUNDLED / MODEL, models / MODEL)
    build(sources.read(None), Order(folder / "golden.json", folder, Origin(), tier="quality"))
    return models


def emulated_vectors(command: list[str], every: int, models: Path, **environment: str) -> NDArray[np.float32]:
    """Run the same code on an emulated processor; return its vectors."""
    output = run([*command, "-m", "tests.processors.embed", str(every), str(models)], **environment)
    return np.frombuffer(output, "<f4").reshape(-1, DIMENSIONS)


def run(command: list[str], **environment: str) -> bytes:
    """Return what a command prints."""
    variables = {"PATH": os.environ["PATH"], **environment}
    return subprocess.run(command, cwd=ROOT, env=variables, stdout=subprocess.PIPE, check=True).stdout


@pytest.fixture
def compare(every, capsys, record_property):
    def compare(
        processor: str, vectors: NDArray[np.float32], min_cosine: float, models: Path = BUNDLED
    ) -> NDArray[np.float32]:
        local = local_vectors(every, models)
        difference: NDArray[np.float32] = np.abs(local - vectors)
        cosines = (local.astype(np.float64) * vectors).sum(axis=1)
        summary = (
            f"{len(vectors)} golden texts on {processor}: {int((difference > 0).sum()):,} of {vectors.size:,} "
            f"components differ, by at most {difference.max():.2e}; lowest cosine {cosines.min():.8f}"
        )
        record_property("processor", summary)
        with capsys.disabled():
            print(f"\n  {summary}")  # noqa: T201 - the result of `make test-processors`
        assert cosines.min() >= min_cosine
        return difference

    return compare


def test_haswell_vectors_are_bit_identical(every, compare):
    vectors = emulated_vectors(HASWELL, every, BUNDLED)
    assert compare("an emulated Haswell", vectors, MIN_COSINE_X86).max() == 0


def test_haswell_vectors_of_the_quality_tier_are_bit_identical(every, compare, quality):
    vectors = emulated_vectors(HASWELL, every, quality)
    assert compare("an emulated Haswell, quality tier,", vectors, MIN_COSINE_X86, quality).max() == 0


def test_every_architectures_vectors_are_bit_identical_on_haswell(tmp_path):
    for name in architectures.CONFIGS:
        source = architectures.read_source(tmp_path / "sources", name)
        special = architectures.OPENING, architectures.CLOSING
        model = quantize(export(source), special, texts=4, longest=source.max_tokens)
        tiny.save_artifacts(tmp_path / "models", tiny.pack(source, model))
    emulated = run([*HASWELL, "-m", "tests.processors.embed_architectures", str(tmp_path / "models")])
    assert emulated == embed_architectures(tmp_path / "models")


@pytest.mark.skipif(not (ARM64 / "ready").exists(), reason="requires make test-processors ARM64=1")
def test_arm64_vectors_are_nearly_identical(every, compare):
    python = ["qemu-aarch64", "-cpu", "neoverse-n1", "-L", f"{ARM64}/root", f"{ARM64}/root/usr/bin/python3.11"]
    paths = {"PYTHONPATH": f"{ARM64}/wheels", "PYTHONHOME": f"{ARM64}/root/usr"}
    compare("an emulated Neoverse N1 (arm64)", emulated_vectors(python, every, BUNDLED, **paths), MIN_COSINE_ARM64)
