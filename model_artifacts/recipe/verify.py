"""Compares the quantized model with full precision, through handler.embedding.embedder, which also serves it."""

import csv
import gzip
import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from handler.artifacts.resolver import Artifacts
from handler.embedding.embedder import Embedder
from handler.settings import Settings
from model_artifacts.recipe.golden import Golden

Vectors = NDArray[np.float32]
Figures = dict[str, str | int | float]

EXPORT_TOLERANCE = 1e-5  # absolute, per component: the float32 graph sums in another order than PyTorch
MIN_MEAN_COSINE = 0.995
MIN_P1_COSINE = 0.985
MAX_SPEARMAN_LOSS = 0.002
CHUNK = 64  # texts per step of the progress bar


class VerificationError(Exception):
    """The model is not good enough to be served."""


@dataclass(frozen=True, slots=True)
class Pairs:
    """Sentence pairs with human similarity scores."""

    left: list[str]
    right: list[str]
    scores: NDArray[np.float64]


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
        quality["sts-b-dev"] = _measure_sts(served, exported, sts)
    for data, figures in quality.items():
        _check(data, figures)
    return quality


def read_sts(path: Path) -> Pairs:
    """Read a split of STS-B in its published format: gzipped, tab-separated, columns score, sentence1, sentence2.

    Raises:
        VerificationError: the file does not exist, or has another format.
    """
    try:
        with gzip.open(path, "rt", encoding="utf-8", newline="") as lines:
            rows = list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))
        return Pairs(
            left=[row["sentence1"] for row in rows],
            right=[row["sentence2"] for row in rows],
            scores=np.array([float(row["score"]) for row in rows]),
        )
    except (OSError, EOFError, KeyError, TypeError, ValueError) as error:
        raise VerificationError(
            f"STS={path} is not a split of STS-B, a gzipped table of score, sentence1 and sentence2: {error}"
        ) from error


def _measure_sts(served: Embedder, exported: Embedder, path: Path) -> Figures:
    pairs = read_sts(path)
    texts = pairs.left + pairs.right
    ours, full = _embed(served, texts, "STS-B, int8"), _embed(exported, texts, "STS-B, float32")
    return {
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        **cosines(ours, full),
        "spearman": spearman(ours, pairs.scores),
        "spearman_full_precision": spearman(full, pairs.scores),
    }


def measure_spearman(embedder: Embedder, path: Path) -> Figures:
    """Measure a model alone on a split of STS-B.

    Raises:
        VerificationError: as `read_sts`.
    """
    pairs = read_sts(path)
    vectors = _embed(embedder, pairs.left + pairs.right, "STS-B")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return {"sha256": digest, "texts": len(vectors), "spearman": spearman(vectors, pairs.scores)}


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


def spearman(vectors: Vectors, scores: NDArray[np.float64]) -> float:
    """Return the rank correlation of cosine and score; ties share their mean rank (Spearman 1904)."""
    left, right = np.split(vectors, 2)
    cosines = (left * right).sum(axis=1) / np.linalg.norm(left, axis=1) / np.linalg.norm(right, axis=1)
    return round(float(np.corrcoef(_ranks(cosines), _ranks(scores))[0, 1]), 4)


def _ranks(values: NDArray[np.float64] | Vectors) -> NDArray[np.float64]:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]


def _check(data: str, figures: Figures) -> None:
    minima = {"cosine_mean": MIN_MEAN_COSINE, "cosine_p1": MIN_P1_COSINE}
    if "spearman" in figures:
        minima["spearman"] = float(figures["spearman_full_precision"]) - MAX_SPEARMAN_LOSS
    for name, minimum in minima.items():
        if float(figures[name]) < minimum:
            raise VerificationError(f"{data}: {name} is {figures[name]}, below the minimum of {minimum}")
