import gzip
import re
from dataclasses import replace
from itertools import cycle

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from handler.embedding.embedder import Embedder
from handler.settings import Settings
from model_artifacts.recipe.export import export
from model_artifacts.recipe.golden import Golden
from model_artifacts.recipe.verify import Figures, VerificationError, check, verify
from tests import tiny

LONG = "a b c d e f g h i j k l m n o p q r s t"
WORDS = [word for word in tiny.WORDS if word.isalpha()]
RANDOM = np.random.default_rng(0)
TEXTS = ["the food was good", "foods .", LONG, *(" ".join(RANDOM.choice(WORDS, count)) for count in range(1, 40))]


@pytest.fixture(scope="module")
def full_precision() -> bytes:
    return bytes(export(tiny.source()).SerializeToString())


@pytest.fixture(scope="module")
def golden(full_precision) -> Golden:
    exact = Embedder(replace(tiny.artifacts(), model=full_precision), Settings(long_input="truncate"))
    return Golden(TEXTS, exact.embed(TEXTS).vectors, source_sha256="0" * 64)


@pytest.fixture
def sts(tmp_path):
    path = tmp_path / "sts.tsv.gz"
    pairs = zip(cycle("12345"), TEXTS, reversed(TEXTS), strict=False)
    rows = [f"{score}\t{left}\t{right}" for score, left, right in pairs]
    path.write_bytes(gzip.compress("\n".join(["score\tsentence1\tsentence2", *rows, ""]).encode()))
    return path


def test_verify_measures_quality_with_the_production_embedder(golden, full_precision, sts):
    quality = verify(tiny.artifacts(), full_precision, golden, sts, workers=1)
    assert quality["golden"]["texts"] == len(TEXTS)
    assert quality["golden"]["longest"] == tiny.MAX_TOKENS
    assert 0.995 < float(quality["golden"]["cosine_mean"]) < 1
    assert 0 < float(quality["golden"]["rank_loss"]) < float(quality["golden"]["rank_loss_plain_int8"])
    assert quality["sts-b-dev"]["texts"] == 2 * len(TEXTS)
    measured = {"sha256", "rank_loss", "spearman", "spearman_full_precision", "spearman_plain_int8"}
    assert set(quality["sts-b-dev"]) >= measured
    assert quality["loss"]["sha256"] == quality["sts-b-dev"]["sha256"]
    assert quality["loss"]["reference"]["spearman"] == quality["sts-b-dev"]["spearman"]


def test_verify_rejects_a_full_precision_graph_that_differs_from_the_source(golden):
    with pytest.raises(VerificationError, match="differs from the source model"):
        verify(tiny.artifacts(), tiny.artifacts().model[:], golden, None, workers=1)


def test_verify_rejects_reference_texts_shorter_than_the_model_reads(golden, full_precision):
    short = Golden(TEXTS[:2], golden.vectors[:2], source_sha256="0" * 64)
    with pytest.raises(VerificationError, match="longest reference text has 6 tokens and the model reads 16"):
        verify(tiny.artifacts(), full_precision, short, None, workers=1)


def coarse_layer(weights: dict[str, np.ndarray]) -> None:
    """Leave three bits of a layer's weights."""
    for name in ("up", "down", "output", "attention.value"):
        weights[f"layer.0.{name}.weight"] = weights[f"layer.0.{name}.weight"] // 32 * 32


def wrong_scale(weights: dict[str, np.ndarray]) -> None:
    """Restore one activation four times as large as it was."""
    weights["layer.0.gelu.scale"] = weights["layer.0.gelu.scale"] * np.float32(4)


def transposed(weights: dict[str, np.ndarray]) -> None:
    """Transpose one of the square weights."""
    weights["layer.1.attention.value.weight"] = weights["layer.1.attention.value.weight"].T


@pytest.mark.parametrize("damage", [coarse_layer, wrong_scale, transposed])
def test_verify_rejects_a_damaged_model(damage, golden, full_precision):
    model = onnx.load_from_string(tiny.artifacts().model[:])
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    damage(weights)
    for tensor in model.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(np.array(weights[tensor.name]), tensor.name))
    damaged = replace(tiny.artifacts(), model=model.SerializeToString())
    with pytest.raises(VerificationError, match=r"golden: (cosine_mean|rank_loss) is 0\.\d+, (below 0\.99|above 0\.0)"):
        verify(damaged, full_precision, golden, None, workers=1)


FIGURES: Figures = {"cosine_mean": 0.999, "rank_loss": 0.004, "rank_loss_plain_int8": 0.01}
LABELLED: Figures = {"spearman": 0.86, "spearman_full_precision": 0.861, "spearman_plain_int8": 0.87}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"cosine_mean": 0.98}, "golden: cosine_mean is 0.98, below 0.99"),
        ({"rank_loss": 0.011}, "golden: rank_loss is 0.011, above 0.01: the maximum is 0.02, and plain int8 has 0.01"),
        (
            {"rank_loss": 0.03, "rank_loss_plain_int8": 0.5},
            "golden: rank_loss is 0.03, above 0.02: the maximum is 0.02, and plain int8 has 0.5",
        ),
        (
            {"spearman": 0.858},
            "golden: spearman is 0.858, more than 0.002 below full precision's 0.861 (plain int8's is 0.87)",
        ),
    ],
)
def test_each_figure_decides_alone(change, reason):
    check("golden", FIGURES)
    check("golden", FIGURES | LABELLED)
    with pytest.raises(VerificationError, match=f"^{re.escape(reason)}$"):
        check("golden", FIGURES | LABELLED | change)
