"""How far a run is: a bar on a terminal, a line from time to time elsewhere."""

import time
from collections.abc import Mapping
from typing import TextIO

from handler.bulk.chunk import Chunk
from handler.bulk.plan import Plan, Shard
from handler.bulk.receipts import Receipt

BAR_SECONDS, LINE_SECONDS = 0.2, 30.0  # between two of them
BAR_WIDTH = 24
CLEAR_LINE = "\r\x1b[K"


class Progress:
    """Counts the rows that are done, and prints them with the rows per second and the time left.

    A plan has the rows of a Parquet file and the bytes of others, so the number of all rows is an estimate.
    """

    def __init__(self, plan: Plan, done: Mapping[int, Receipt], output: TextIO) -> None:
        """Begin with the shards that are done already."""
        self._output, self._terminal = output, output.isatty()
        self._total = sum(map(_size, plan.shards))
        self._done = sum(_size(shard) for shard in plan.shards if shard.number in done)
        self._rows = self._earlier = sum(receipt.rows for receipt in done.values())
        self._shard: Shard | None = None
        self._started = time.monotonic()
        self._due = self._started + (0 if self._terminal else LINE_SECONDS)

    def update(self, chunk: Chunk) -> None:
        """Count a chunk that has been written."""
        if self._shard and self._shard != chunk.shard:
            self._done += _size(self._shard)
        self._shard = chunk.shard
        self._rows += len(chunk.rows) + len(chunk.rejected)
        now = time.monotonic()
        if now >= self._due:
            self._due = now + (BAR_SECONDS if self._terminal else LINE_SECONDS)
            share = (self._done + chunk.position - chunk.shard.start) / max(1, self._total)
            self._print(self.describe(share, now - self._started), share)

    def describe(self, share: float, seconds: float) -> str:
        """Return the progress in words, when `share` of the input is done after so many seconds."""
        rate = (self._rows - self._earlier) / max(seconds, 1e-9)
        rows = self._rows / share if share else 0
        left = f"{duration((rows - self._rows) / rate)} left" if rate and share else "no time known yet"
        return f"{self._rows:,} of about {rows:,.0f} rows ({share:.0%}), {rate:,.0f} rows/s, {left}"

    def _print(self, text: str, share: float) -> None:
        if self._terminal:
            text = f"{CLEAR_LINE}[{'#' * round(BAR_WIDTH * share):-<{BAR_WIDTH}}] {text}"
        print(text, end="" if self._terminal else "\n", file=self._output, flush=True)

    def close(self) -> None:
        """Remove the bar."""
        if self._terminal:
            print(CLEAR_LINE, end="", file=self._output, flush=True)


def _size(shard: Shard) -> int:
    return shard.end - shard.start


def duration(seconds: float) -> str:
    """Return seconds as people read them: `42 s`, `3 min 20 s`, `2 h 5 min`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
