"""Calibrates the output types, and measures what each loses, by the number of dimensions."""

from collections.abc import Callable, Mapping
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from handler.artifacts.manifest import PACKED, OutputDtype
from handler.embedding.pooling import Vectors, l2_normalize, truncate_dimensions
from handler.embedding.quantization import MAX_INT8, convert, flip_sign
from model_artifacts.recipe.sts import Pairs, recall, retrieval_set, spearman

DTYPES: tuple[OutputDtype, ...] = get_args(OutputDtype)
DIMENSIONS = (256, 192, 128, 64, 32)  # and the model's own


def calibrate(vectors: Vectors) -> dict[str, float]:
    """Return a manifest's calibration, from vectors, float32 (texts, dimensions), of texts of all kinds.

    With this scale, int8's 127 is the largest component of these vectors, with all or fewer dimensions, times the
    square root of their number.
    """
    units = [l2_normalize(truncate_dimensions(vectors, size)) for size in sizes(vectors.shape[1])]
    largest = max(float(np.abs(each).max()) * each.shape[1] ** 0.5 for each in units)
    return {"int8": float(f"{MAX_INT8 / largest:.4g}")}


def sizes(native: int) -> tuple[int, ...]:
    """Return the numbers of dimensions that are measured for a model with `native` dimensions."""
    return (native, *(size for size in DIMENSIONS if size < native))


def measure_loss(pairs: Pairs, vectors: Vectors, calibration: Mapping[str, float]) -> dict[str, Any]:
    """Return the scores of float vectors of all dimensions, and what other types and fewer dimensions lose.

    `vectors` are those of `pairs.left + pairs.right`, float32 (texts, dimensions). docs/output-types.md has the
    definitions.
    """
    texts = retrieval_set(pairs)
    scores: dict[str, Callable[[NDArray[Any]], float]] = {
        "spearman": lambda values: spearman(values, pairs.scores),
        "recall_at_10": lambda values: recall(values, texts),
    }
    reference = {name: score(vectors) for name, score in scores.items()}
    loss: dict[str, Any] = {name: {dtype: {} for dtype in DTYPES} for name in scores}
    for dtype in DTYPES:
        for size in sizes(vectors.shape[1]):
            if dtype in PACKED and size % 8:
                continue
            values = _comparable(_output(vectors, size, dtype, calibration), dtype)
            for name, score in scores.items():
                loss[name][dtype][str(size)] = round(reference[name] - score(values), 4)
    return {"queries": len(texts.queries), "documents": len(texts.documents), "reference": reference, **loss}


def _output(vectors: Vectors, size: int, dtype: OutputDtype, calibration: Mapping[str, float]) -> NDArray[Any]:
    """Return vectors as the service does for a model that normalizes them."""
    return convert(l2_normalize(truncate_dimensions(vectors, size)), dtype, calibration.get("int8"))


def _comparable(values: NDArray[Any], dtype: OutputDtype) -> NDArray[Any]:
    """Return vectors of an output type as floats whose cosine is the one that docs/output-types.md says to compute."""
    match dtype:
        case "float":
            return values
        case "uint8":
            return values - 128.0
        case "binary" | "ubinary":
            bits = np.unpackbits(values if dtype == "ubinary" else flip_sign(values.view(np.uint8)), axis=1)
            return bits * 2.0 - 1
        case _:
            return values.astype(np.float64)
