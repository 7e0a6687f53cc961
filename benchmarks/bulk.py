"""A bulk job on paper: time and dollars by number of texts and concurrency, and the limits of AWS that bind.

python -m benchmarks.bulk          prints the tables
python -m benchmarks.bulk --write  writes them to docs/bulk.md, and draws docs/bulk.png (with matplotlib)

Shards start one by one, at most START_RATE a second, and at most `concurrency` run at a time, so shard i starts at

    max(i / START_RATE, (i mod concurrency) / START_RATE + floor(i / concurrency) x seconds of a shard)

and the last one ends the stage. The pace of a vCPU is that of one worker in benchmarks/report/results.json. Assumed: a
vCPU of Lambda is as fast as a core of that machine, and what handler/bulk/prices.py says of requests and overheads.
"""

import argparse
import math
from dataclasses import dataclass

import numpy as np

from benchmarks import throughput
from benchmarks.report.results import Results
from handler.bulk.prices import PART_SECONDS, SHARD_SECONDS, STEP_SECONDS, Usage

SHARD_ROWS, SHARD_BYTES = 20_000, 8 << 20
PART_BYTES = 128_000_000
DIMENSIONS = 384
BYTES_PER_TOKEN = 4.5  # of the STS-B dev split, special tokens not counted
SPECIAL = 2
# A Map Run starts 100 STANDARD children a second, and a function gains 1,000 environments in 10 seconds.
START_RATE = 100.0
EXPRESS_START_RATE = 1000.0
PARTS_AT_ONCE = 500
RECEIPTS_PER_SECOND = 1000.0  # read by 32 threads, 30 ms each

TEXTS = tuple(10**exponent for exponent in range(5, 10))
CONCURRENCIES = (10, 100, 500, 1_000, 5_000, 10_000)
LENGTHS = (16, 32, 64, 128, 256)
USUAL_LENGTH = 64


def texts_per_second(tokens: float) -> float:
    """Return the pace of one vCPU: interpolated between the measured lengths, in seconds per text."""
    measured = Results.read().lengths[throughput.OURS_ONE_WORKER]
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
    def shard_seconds(self) -> float:
        """Seconds that a shard takes."""
        return min(self.rows, self.texts) / texts_per_second(self.tokens) + SHARD_SECONDS

    @property
    def usage(self) -> Usage:
        """What the job uses."""
        return Usage(self.shards, self.parts, self.texts / texts_per_second(self.tokens))

    def seconds(self, concurrency: int) -> float:
        """Return the seconds of the whole run."""
        parts = math.ceil(self.parts / min(concurrency, PARTS_AT_ONCE)) * PART_SECONDS
        receipts = (self.shards + self.parts) / RECEIPTS_PER_SECOND
        return STEP_SECONDS + self.map_seconds(concurrency) + receipts + parts

    def map_seconds(self, concurrency: int) -> float:
        """Return the seconds of the stage that embeds."""
        wave, place = divmod(self.shards - 1, concurrency)
        start = max((self.shards - 1) / START_RATE, place / START_RATE + wave * self.shard_seconds)
        return start + self.shard_seconds

    def busy(self) -> int:
        """Return how many shards run at a time if nothing but the rate of starts limits them."""
        return int(START_RATE * self.shard_seconds)


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
