"""Pairs of sentences with human scores (STS-B): how well cosines follow the scores, and how well they retrieve."""

import csv
import gzip
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_artifacts.recipe.configuration import SourceError

MIN_SCORE = 3  # of two sentences that are roughly equivalent (Cer et al. 2017, table 1); from 4 on, recall is 1
FIRST = 10
DECIMALS = 9  # of a cosine: another order of summation changes less, and equal vectors must tie

Values = NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class Pairs:
    """Sentence pairs with human similarity scores."""

    left: list[str]
    right: list[str]
    scores: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class RetrievalSet:
    """Queries and documents, each text once, as rows of the vectors of `left + right`.

    queries    rows of the first sentences of pairs with a score of MIN_SCORE or more
    documents  rows of all second sentences
    relevant   for each query, the positions in `documents` of the second sentences of its pairs with such a score
    """

    queries: list[int]
    documents: list[int]
    relevant: list[list[int]]


def read_sts(path: Path) -> Pairs:
    """Read a split of STS-B in its published format: gzipped, tab-separated, columns score, sentence1, sentence2.

    Raises:
        SourceError: the file does not exist, or has another format.
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
        raise SourceError(
            f"STS={path} is not a split of STS-B, a gzipped table of score, sentence1 and sentence2: {error}"
        ) from error


def spearman(vectors: Values, scores: NDArray[np.float64]) -> float:
    """Return the rank correlation of cosine and score; ties share their mean rank (Spearman 1904)."""
    left, right = np.split(vectors, 2)
    cosines = (left * right).sum(axis=1) / np.linalg.norm(left, axis=1) / np.linalg.norm(right, axis=1)
    return round(rank_correlation(cosines, scores), 4)


def rank_correlation(first: Values, second: Values) -> float:
    """Return the correlation of ranks."""
    return float(np.corrcoef(_ranks(first), _ranks(second))[0, 1])


def _ranks(values: Values) -> NDArray[np.float64]:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]


def retrieval_set(pairs: Pairs) -> RetrievalSet:
    """Make a retrieval set of pairs: a first sentence is to find the second ones that are roughly equivalent."""
    rows = {text: len(pairs.left) + index for index, text in reversed(list(enumerate(pairs.right)))}
    positions = {text: position for position, text in enumerate(rows)}
    queries: dict[str, int] = {}
    relevant: dict[str, set[int]] = {}
    for index, (left, right, score) in enumerate(zip(pairs.left, pairs.right, pairs.scores, strict=True)):
        if score >= MIN_SCORE:
            queries.setdefault(left, index)
            relevant.setdefault(left, set()).add(positions[right])
    return RetrievalSet(list(queries.values()), list(rows.values()), list(map(sorted, relevant.values())))


def recall(vectors: Values, texts: RetrievalSet) -> float:
    """Return the mean share of a query's relevant documents among the FIRST with the largest cosine.

    Documents of equal cosine share the places that they take, as bits often do: each is there with the probability that
    a random order would give it.
    """
    units = vectors.astype(np.float64)
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    cosines = (units[texts.queries] @ units[texts.documents].T).round(DECIMALS)
    return round(float(np.mean([_share(row, found) for row, found in zip(cosines, texts.relevant, strict=True)])), 4)


def _share(cosines: NDArray[np.float64], relevant: list[int]) -> float:
    own = cosines[relevant][:, None]
    larger, equal = (cosines > own).sum(axis=1), (cosines == own).sum(axis=1)
    return float(np.clip((FIRST - larger) / equal, 0, 1).mean())
