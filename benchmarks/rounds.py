"""Interleaved measurements: each round measures every subject once, so the machine's noise affects all alike."""

import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from tqdm import tqdm

Measurements = dict[str, list[float]]
Value = TypeVar("Value")

MIN_ROUNDS = 3  # however long they take


def interleave(
    title: str, subjects: Mapping[str, Callable[[int], Value]], rounds: int, seconds: float
) -> dict[str, list[Value]]:
    """Call every subject once per round with the index of the round; return the values by subject.

    A warm-up round is discarded. The rounds end early when `seconds` have passed, but not before MIN_ROUNDS.
    """
    measured: dict[str, list[Value]] = {name: [] for name in subjects}
    deadline = time.monotonic() + seconds
    with tqdm(total=(rounds + 1) * len(subjects), desc=f"{title:24}", leave=False, disable=None) as progress:
        for index in range(-1, rounds):
            if index >= MIN_ROUNDS and time.monotonic() > deadline:
                break
            for name, subject in subjects.items():
                value = subject(max(index, 0))
                progress.update()
                if index >= 0:
                    measured[name].append(value)
    return measured


def best_variant(measured: Measurements, name: str, choose: Callable[[Iterable[float]], float]) -> Measurements:
    """Merge the variants of a subject, named `name, variant`, into `name`: the value `choose` picks in each round."""
    variants = [values for key, values in measured.items() if key.startswith(f"{name}, ")]
    others = {key: values for key, values in measured.items() if not key.startswith(f"{name}, ")}
    return others | {name: [choose(values) for values in zip(*variants, strict=True)]}


def ratio(numerators: Sequence[float], denominators: Sequence[float]) -> float:
    """Return the median of the rounds' ratios."""
    return statistics.median(above / below for above, below in zip(numerators, denominators, strict=True))


def medians(measured: Measurements) -> dict[str, float]:
    """Return the median of each subject."""
    return {name: statistics.median(values) for name, values in measured.items()}
