"""A bulk job on paper: time and dollars by number of texts and concurrency, and the limits of AWS that bind.

python -m benchmarks.bulk          prints the tables
python -m benchmarks.bulk --write  writes them to docs/bulk.md, and draws docs/bulk.png (with matplotlib)

The pace of a vCPU is that of one worker in benchmarks/report/results/intel-xeon-amx.json, of the measured
processors the one in the middle. Assumed: a
vCPU of Lambda is as fast as a core of that machine, and what handler/bulk/prices.py says, which has the formulas.
"""

import argparse
import math
from dataclasses import dataclass

import numpy as np

from benchmarks.report.cost import BATCH, ONE_WORKER
from benchmarks.report.results import of_pace
from handler.bulk.merge import PART_BYTES
from handler.bulk.prices import START_RATE, Usage
from handler.bulk.rows import SHARD_BYTES, SHARD_ROWS

DIMENSIONS = 384
BYTES_PER_TOKEN = 4.5  # of the STS-B dev split, special tokens not counted
SPECIAL = 2
EXPRESS_START_RATE = 1000.0  # children a second

TEXTS = tuple(10**exponent for exponent in range(5, 10))
CONCURRENCIES = (10, 100, 500, 1_000, 5_000, 10_000)
LENGTHS = (16, 32, 64, 128, 256)
USUAL_LENGTH = 64


def texts_per_second(tokens: float) -> float:
    """Return the pace of one vCPU: interpolated between the measured lengths, in seconds per text."""
    measured = of_pace().lengths(ONE_WORKER[BATCH])
    return float(1 / np.interp(tokens, list(measured), [1 / rate for rate in measured.values()]))


@dataclass(frozen=True, slots=True)
class Job:
    """A job of texts that all have `tokens` tokens, special tokens included."""

    texts: int
    tokens: int = USUAL_LENGTH
    shard_rows: int = SHARD_ROWS

    @property
    def rows(self) -> int:
        """Rows of a shard."""
        return min(self.shard_rows, int(SHARD_BYTES / self.text_bytes))

    @property
    def text_bytes(self) -> float:
        """Bytes of a text."""
        return (self.tokens - SPECIAL) * BYTES_PER_TOKEN

    @property
    def shards(self) -> int:
        """Number of shards."""
        return math.ceil(self.texts / self.rows)

    @property
    def parts(self) -> int:
        """Number of parts: vectors and texts, which zstd packs to about half."""
        return math.ceil(self.texts * (DIMENSIONS * 4 + self.text_bytes / 2) / PART_BYTES)

    @property
    def usage(self) -> Usage:
        """What the job uses."""
        return Usage(self.shards, self.parts, self.texts / texts_per_second(self.tokens))

    def busy(self) -> int:
        """Return how many shards run at a time if nothing but the rate of starts limits them."""
        return int(START_RATE * self.usage.shard_seconds)


def main() -> None:
    """Print the tables, or write them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--write", action="store_true", help="write docs/bulk.md and docs/bulk.png")
    from benchmarks.report import bulk

    if parser.parse_args().write:
        bulk.write()
    else:
        print(bulk.tables())


if __name__ == "__main__":
    main()
