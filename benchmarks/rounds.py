"""Rounds: everything that is compared takes turns, so that a noisy neighbour of the machine is everybody's."""

import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from tqdm import tqdm

Measurements = dict[str, list[float]]

LEAST = 3  # rounds, however long they take


def take_turns(title: str, ways: Mapping[str, Callable[[int], float]], rounds: int, seconds: float) -> Measurements:
    """Measure every way once a round, after a round that does not count; each is given the round's number.

    There are so many rounds, or as many as there is time for.
    """
    measured: Measurements = {name: [] for name in ways}
    deadline = time.monotonic() + seconds
    with tqdm(total=(rounds + 1) * len(ways), desc=f"{title:24}", leave=False, disable=None) as bar:
        for index in range(-1, rounds):
            if index >= LEAST and time.monotonic() > deadline:
                break
            for name, way in ways.items():
                value = way(max(index, 0))
                bar.update()
                if index >= 0:
                    measured[name].append(value)
    return measured


def best(measured: Measurements, name: str, choose: Callable[[Iterable[float]], float]) -> Measurements:
    """Put one in the place of all that are called `name, something`: the one `choose` prefers, round by round."""
    alike = [values for key, values in measured.items() if key.startswith(f"{name}, ")]
    others = {key: values for key, values in measured.items() if not key.startswith(f"{name}, ")}
    return others | {name: [choose(values) for values in zip(*alike, strict=True)]}


def ratio(numerators: Sequence[float], denominators: Sequence[float]) -> float:
    """Return the median of the rounds' ratios."""
    return statistics.median(above / below for above, below in zip(numerators, denominators, strict=True))


def medians(measured: Measurements) -> dict[str, float]:
    """Return each one's median."""
    return {name: statistics.median(values) for name, values in measured.items()}
