"""Compares the quantized model with full precision, through handler.embedding.embedder, which also serves it."""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from handler.artifacts.resolver import Artifacts
from handler.embedding.embedder import Embedder
from handler.settings import Settings
from model_artifacts.recipe.golden import Golden
from model_artifacts.recipe.output_types import measure_loss
from model_artifacts.recipe.sts import read_sts, spearman

Vectors = NDArray[np.float32]
Figures = dict[str, Any]

EXPORT_TOLERANCE = 1e-5  # absolute, per component: the float32 graph sums in another order than PyTorch
MIN_MEAN_COSINE = 0.995
MIN_P1_COSINE = 0.985
MAX_SPEARMAN_LOSS = 0.002
CHUNK = 64  # texts per step of the progress bar


class VerificationError(Exception):
    """The model is not good enough to be served."""


def verify(
    artifacts: Artifacts, full_precision: bytes, golden: Golden, sts: Path | None, workers: int
) -> dict[str, Figures]:
    """Compare the artifacts with the reference vectors, and also measure on STS-B if its file is given.

    Raises:
        VerificationError: the exported graph differs from the source model, or the quantized one misses a minimum.
    """
    settings = Settings(workers=workers, long_input="truncate")  # as sentence-transformers does
    served = Embedder(artifacts, settings)
    exported = Embedder(replace(artifacts, model=full_precision), settings)
    deviation = float(np.abs(_embed(exported, golden.texts, "export") - golden.vectors).max())
    if deviation > EXPORT_TOLERANCE:
        raise VerificationError(
            f"the exported graph differs from the source model: a component is off by {deviation:.1e}"
        )
    quality = {"golden": cosines(_embed(served, golden.texts, "golden"), golden.vectors)}
    if sts:
        quality |= _measure_sts(served, exported, sts)
    for data in quality.keys() - {"loss"}:
        _check(data, quality[data])
    return quality


def _measure_sts(served: Embedder, exported: Embedder, path: Path) -> dict[str, Figures]:
    pairs = read_sts(path)
    texts = pairs.left + pairs.right
    ours, full = _embed(served, texts, "STS-B, int8"), _embed(exported, texts, "STS-B, float32")
    figures = {
        **cosines(ours, full),
        "spearman": spearman(ours, pairs.scores),
        "spearman_full_precision": spearman(full, pairs.scores),
    }
    return _describe_sts(path, figures, measure_loss(pairs, ours, served.manifest.calibration))


def measure_alone(embedder: Embedder, path: Path) -> dict[str, Figures]:
    """Measure a model alone on a split of STS-B.

    Raises:
        SourceError: as `read_sts`.
    """
    pairs = read_sts(path)
    vectors = _embed(embedder, pairs.left + pairs.right, "STS-B")
    figures = {"texts": len(vectors), "spearman": spearman(vectors, pairs.scores)}
    return _describe_sts(path, figures, measure_loss(pairs, vectors, embedder.manifest.calibration))


def _describe_sts(path: Path, figures: Figures, loss: Figures) -> dict[str, Figures]:
    sha256 = {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    return {"sts-b-dev": sha256 | figures, "loss": sha256 | loss}


def _embed(embedder: Embedder, texts: list[str], title: str) -> Vectors:
    starts = tqdm(range(0, len(texts), CHUNK), desc=f"  {title}", leave=False, disable=None)
    return np.concatenate([embedder.embed(texts[start : start + CHUNK]).vectors for start in starts])


def cosines(ours: Vectors, full: Vectors) -> Figures:
    """Return the cosines of two sets of vectors, float32 (texts, dimensions), text by text."""
    cosines = (ours.astype(np.float64) * full).sum(axis=1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(full, axis=1)
    return {
        "texts": len(cosines),
        "cosine_mean": round(float(cosines.mean()), 4),
        "cosine_p1": round(float(np.percentile(cosines, 1)), 4),
        "cosine_min": round(float(cosines.min()), 4),
    }


def _check(data: str, figures: Figures) -> None:
    minima = {"cosine_mean": MIN_MEAN_COSINE, "cosine_p1": MIN_P1_COSINE}
    if "spearman" in figures:
        minima["spearman"] = float(figures["spearman_full_precision"]) - MAX_SPEARMAN_LOSS
    for name, minimum in minima.items():
        if float(figures[name]) < minimum:
            raise VerificationError(f"{data}: {name} is {figures[name]}, below the minimum of {minimum}")
