import gzip
from dataclasses import replace

import pytest

from handler.embedding.embedder import Embedder
from handler.settings import Settings
from model_artifacts.recipe.export import export
from model_artifacts.recipe.golden import Golden
from model_artifacts.recipe.verify import VerificationError, verify
from tests import tiny

TEXTS = ["the food was good", "a b c", "z", "foods ."]


@pytest.fixture(scope="module")
def full_precision() -> bytes:
    return bytes(export(tiny.source()).SerializeToString())


@pytest.fixture(scope="module")
def golden(full_precision) -> Golden:
    exact = Embedder(replace(tiny.artifacts(), model=full_precision), Settings())
    return Golden(TEXTS, exact.embed(TEXTS).vectors, source_sha256="0" * 64)


@pytest.fixture
def sts(tmp_path):
    path = tmp_path / "sts.tsv.gz"
    rows = [f"{score}\t{left}\t{right}" for score, left, right in zip("1234", TEXTS, reversed(TEXTS), strict=True)]
    path.write_bytes(gzip.compress("\n".join(["score\tsentence1\tsentence2", *rows, ""]).encode()))
    return path


def test_verify_measures_quality_with_the_production_embedder(golden, full_precision, sts):
    quality = verify(tiny.artifacts(), full_precision, golden, sts, workers=1)
    assert quality["golden"]["texts"] == 4
    assert 0.995 < float(quality["golden"]["cosine_mean"]) < 1
    assert quality["sts-b-dev"]["texts"] == 8
    assert set(quality["sts-b-dev"]) >= {"sha256", "spearman", "spearman_full_precision"}
    assert quality["loss"]["sha256"] == quality["sts-b-dev"]["sha256"]
    assert quality["loss"]["reference"]["spearman"] == quality["sts-b-dev"]["spearman"]


def test_verify_rejects_a_full_precision_graph_that_differs_from_the_source(golden):
    with pytest.raises(VerificationError, match="differs from the source model"):
        verify(tiny.artifacts(), tiny.artifacts().model, golden, None, workers=1)


def test_verify_rejects_a_model_below_a_quality_threshold(golden, full_precision, monkeypatch):
    monkeypatch.setattr("model_artifacts.recipe.verify.MIN_MEAN_COSINE", 1)
    with pytest.raises(VerificationError, match=r"golden: cosine_mean is 0\.99\d*, below the minimum of 1"):
        verify(tiny.artifacts(), full_precision, golden, None, workers=1)
