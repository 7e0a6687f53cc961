"""Compares the quantized model with full precision, through handler.embedding.embedder, which also serves it.

How near vectors are to those at full precision says little across models: where all texts have cosines of 0.8, as
with E5, a cosine of 0.99 is a large error. What searches use is the order of similarities. So the rank loss decides: 1
less the rank correlation of the cosines of pairs of texts with those at full precision, which needs no labels. It has
to be below that of plain int8, ONNX Runtime's own quantization of the same graph, and below a maximum.

    golden texts                                     recipe  plain int8
    all-MiniLM-L6-v2                                 0.0033  0.0144
    paraphrase-MiniLM-L3-v2                          0.0013  0.0045
    all-MiniLM-L6-v2, one layer of 4 bits            0.0388  (refused, as all below)
    all-MiniLM-L6-v2, one activation's range halved  0.0210
    all-MiniLM-L6-v2, a query's weight transposed    0.1125

With labelled pairs, the loss of Spearman's correlation with the labels decides too.
"""

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
from model_artifacts.recipe.plain import quantize_plainly
from model_artifacts.recipe.sts import rank_correlation, read_sts, spearman

Vectors = NDArray[np.float32]
Figures = dict[str, Any]

EXPORT_TOLERANCE = 1e-5  # absolute, per component: the float32 graph sums in another order than PyTorch
MIN_MEAN_COSINE = 0.99  # an index may mix vectors of both precisions
MAX_RANK_LOSS = 0.02
MAX_SPEARMAN_LOSS = 0.002  # of 1,500 pairs with labels: plain int8's loss varies by as much from model to model
CHUNK = 64  # texts per step of the progress bar


class VerificationError(Exception):
    """The model is not good enough to be served."""


def verify(
    artifacts: Artifacts, full_precision: bytes, golden: Golden, sts: Path | None, workers: int
) -> dict[str, Figures]:
    """Compare the artifacts with the reference vectors, and also measure on STS-B if its file is given.

    Raises:
        VerificationError: the reference texts are too short, the exported graph differs from the source model, or the
            quantized one is not good enough.
    """
    settings = Settings(workers=workers, long_input="truncate")  # as sentence-transformers does
    served = Embedder(artifacts, settings)
    exported = Embedder(replace(artifacts, model=full_precision), settings)
    plain = Embedder(replace(artifacts, model=quantize_plainly(full_precision)), settings)
    longest, limit = max(served.embed([text]).tokens for text in golden.texts), artifacts.manifest.max_tokens
    if longest < limit:
        raise VerificationError(
            f"the longest reference text has {longest} tokens and the model reads {limit}; record them with make golden"
        )
    deviation = float(np.abs(_embed(exported, golden.texts, "export") - golden.vectors).max())
    if deviation > EXPORT_TOLERANCE:
        raise VerificationError(
            f"the exported graph differs from the source model: a component is off by {deviation:.1e}"
        )
    quality = {"golden": _measure_golden(served, plain, golden) | {"longest": longest}}
    if sts:
        quality |= _measure_sts(served, plain, exported, sts)
    for data in quality.keys() - {"loss"}:
        check(data, quality[data])
    return quality


def _measure_golden(served: Embedder, plain: Embedder, golden: Golden) -> Figures:
    ours, theirs = _embed(served, golden.texts, "golden"), _embed(plain, golden.texts, "golden, plain int8", chunk=1)
    pairs = np.triu_indices(len(golden.texts), 1)
    return {
        **cosines(ours, golden.vectors),
        "rank_loss": _rank_loss(ours, golden.vectors, *pairs),
        "rank_loss_plain_int8": _rank_loss(theirs, golden.vectors, *pairs),
    }


def _measure_sts(served: Embedder, plain: Embedder, exported: Embedder, path: Path) -> dict[str, Figures]:
    pairs = read_sts(path)
    texts, halves = pairs.left + pairs.right, np.split(np.arange(2 * len(pairs.left)), 2)
    ours, full = _embed(served, texts, "STS-B"), _embed(exported, texts, "STS-B, float32")
    theirs = _embed(plain, texts, "STS-B, plain int8", chunk=1)
    figures = {
        **cosines(ours, full),
        "rank_loss": _rank_loss(ours, full, *halves),
        "rank_loss_plain_int8": _rank_loss(theirs, full, *halves),
        "spearman": spearman(ours, pairs.scores),
        "spearman_full_precision": spearman(full, pairs.scores),
        "spearman_plain_int8": spearman(theirs, pairs.scores),
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


def _embed(embedder: Embedder, texts: list[str], title: str, chunk: int = CHUNK) -> Vectors:
    """Embed texts, `chunk` at a time; with a dynamic scale, a text has its own vector only alone."""
    starts = tqdm(range(0, len(texts), chunk), desc=f"  {title}", leave=False, disable=None)
    return np.concatenate([embedder.embed(texts[start : start + chunk]).vectors for start in starts])


def cosines(ours: Vectors, full: Vectors) -> Figures:
    """Return the cosines of two sets of vectors, float32 (texts, dimensions), text by text."""
    cosines = (ours.astype(np.float64) * full).sum(axis=1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(full, axis=1)
    return {
        "texts": len(cosines),
        "cosine_mean": round(float(cosines.mean()), 4),
        "cosine_p1": round(float(np.percentile(cosines, 1)), 4),
        "cosine_min": round(float(cosines.min()), 4),
    }


def _rank_loss(ours: Vectors, full: Vectors, left: NDArray[np.int64], right: NDArray[np.int64]) -> float:
    return round(1 - rank_correlation(_similarities(ours, left, right), _similarities(full, left, right)), 5)


def _similarities(vectors: Vectors, left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the cosines of pairs of rows."""
    unit = vectors.astype(np.float64) / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines: NDArray[np.float64] = np.einsum("pd,pd->p", unit[left], unit[right])
    return cosines


def check(data: str, figures: Figures) -> None:
    """Check the figures of a data set.

    Raises:
        VerificationError: one of them is not good enough.
    """
    measured = {name: figure for name, figure in figures.items() if not isinstance(figure, str)}
    if measured["cosine_mean"] < MIN_MEAN_COSINE:
        raise VerificationError(f"{data}: cosine_mean is {measured['cosine_mean']}, below {MIN_MEAN_COSINE}")
    allowed = min(MAX_RANK_LOSS, measured["rank_loss_plain_int8"])
    if measured["rank_loss"] > allowed:
        raise VerificationError(
            f"{data}: rank_loss is {measured['rank_loss']}, above {allowed}: "
            f"the maximum is {MAX_RANK_LOSS}, and plain int8 has {measured['rank_loss_plain_int8']}"
        )
    if measured.get("spearman", 1) < measured.get("spearman_full_precision", 0) - MAX_SPEARMAN_LOSS:
        raise VerificationError(
            f"{data}: spearman is {measured['spearman']}, more than {MAX_SPEARMAN_LOSS} below full precision's "
            f"{measured['spearman_full_precision']} (plain int8's is {measured['spearman_plain_int8']})"
        )
