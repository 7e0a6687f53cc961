"""The same texts here and on an emulated processor: the same bits on x86, and as good as the same on arm64."""

import os
import subprocess
import sys
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.emulator import ROOT
from tests.processors.embed import embed

X86_LEAST = 0.99999
# There the compiler fuses products and sums, and where a last bit tips a rounding to int8, later layers follow it.
ARM64_LEAST = 0.998
ARM64 = ROOT / "build" / "arm64"
DIMENSIONS = 384


@pytest.fixture(scope="session")
def every(request) -> int:
    given: int = request.config.getoption("--every")
    return given


@cache
def here(every: int) -> NDArray[np.float32]:
    return np.frombuffer(embed(every), "<f4").reshape(-1, DIMENSIONS)


def there(command: list[str], every: int, **environment: str) -> NDArray[np.float32]:
    """Run this very code on an emulated processor."""
    done = subprocess.run(
        [*command, "-m", "tests.processors.embed", str(every)],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **environment},
        stdout=subprocess.PIPE,
        check=True,
    )
    return np.frombuffer(done.stdout, "<f4").reshape(-1, DIMENSIONS)


@pytest.fixture
def compare(every, capsys, record_property):
    def compare(processor: str, vectors: NDArray[np.float32], least: float) -> NDArray[np.float32]:
        difference: NDArray[np.float32] = np.abs(here(every) - vectors)
        cosines = (here(every).astype(np.float64) * vectors).sum(axis=1)
        said = (
            f"{len(vectors)} golden texts on {processor}: {int((difference > 0).sum()):,} of {vectors.size:,} "
            f"components differ, the largest by {difference.max():.2e}; least cosine {cosines.min():.8f}"
        )
        record_property("processor", said)
        with capsys.disabled():
            print(f"\n  {said}")  # noqa: T201 - what the verb is asked for
        assert cosines.min() >= least
        return difference

    return compare


def test_haswell_gives_the_same_bits(every, compare):
    vectors = there(["qemu-x86_64", "-cpu", "Haswell", sys.executable], every)
    assert compare("an emulated Haswell", vectors, X86_LEAST).max() == 0


@pytest.mark.skipif(not (ARM64 / "ready").exists(), reason="make test-processors ARM64=1 prepares it")
def test_arm64_gives_nearly_the_same(every, compare):
    python = ["qemu-aarch64", "-cpu", "neoverse-n1", "-L", f"{ARM64}/root", f"{ARM64}/root/usr/bin/python3.11"]
    paths = {"PYTHONPATH": f"{ARM64}/wheels", "PYTHONHOME": f"{ARM64}/root/usr"}
    compare("an emulated Neoverse N1 (arm64)", there(python, every, **paths), ARM64_LEAST)
