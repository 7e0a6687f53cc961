import gzip
from dataclasses import replace

import numpy as np
import pytest

from handler.embedding.embedder import Embedder
from handler.settings import Settings
from model_artifacts.recipe.export import export
from model_artifacts.recipe.golden import Golden
from model_artifacts.recipe.verify import VerificationError, read_sts, verify
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


def test_verify_rejects_a_full_precision_graph_that_differs_from_the_source(golden):
    with pytest.raises(VerificationError, match="differs from the source model"):
        verify(tiny.artifacts(), tiny.artifacts().model, golden, None, workers=1)


def test_verify_rejects_a_model_below_a_quality_threshold(golden, full_precision, monkeypatch):
    monkeypatch.setattr("model_artifacts.recipe.verify.MIN_MEAN_COSINE", 1)
    with pytest.raises(VerificationError, match=r"golden: cosine_mean is 0\.99\d*, below the minimum of 1"):
        verify(tiny.artifacts(), full_precision, golden, None, workers=1)


def test_read_sts_parses_the_published_format(sts):
    pairs = read_sts(sts)
    assert (pairs.left[0], pairs.right[0]) == (TEXTS[0], TEXTS[-1])
    np.testing.assert_array_equal(pairs.scores, [1, 2, 3, 4])


@pytest.mark.parametrize(
    "content",
    [
        None,
        b"score\tsentence1\tsentence2\n",
        gzip.compress(b"score\tsentence1\n1\ta\n"),
        gzip.compress(b"score\tsentence1\tsentence2\nhigh\ta\tb\n"),
        gzip.compress(b"score\tsentence1\tsentence2\n\xff\ta\tb\n"),
        gzip.compress(b"score\tsentence1\tsentence2\n1\ta\tb\n")[:-9],
    ],
    ids=["missing", "not gzipped", "no column", "no number", "not UTF-8", "cut off"],
)
def test_read_sts_rejects_any_other_file_in_one_line(tmp_path, content):
    path = tmp_path / "sts.tsv.gz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(VerificationError, match=f"^STS={path} is not a split of STS-B, a gzipped table of ") as refused:
        read_sts(path)
    assert "\n" not in str(refused.value)
