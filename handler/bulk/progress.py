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


class Display:
    """Shows the latest of many texts: in place on a terminal, as a line from time to time elsewhere."""

    def __init__(self, output: TextIO) -> None:
        self._output, self._terminal = output, output.isatty()
        self._due = 0.0 if self._terminal else time.monotonic() + LINE_SECONDS

    def show(self, text: str, share: float) -> None:
        """Show a text, and a bar of which `share` is full, unless it is too early."""
        now = time.monotonic()
        if now < self._due:
            return
        self._due = now + (BAR_SECONDS if self._terminal else LINE_SECONDS)
        bar = f"{CLEAR_LINE}[{'#' * round(BAR_WIDTH * share):-<{BAR_WIDTH}}] "
        print(
            f"{bar if self._terminal else ''}{text}", end="" if self._terminal else "\n", file=self._output, flush=True
        )

    def close(self) -> None:
        """Remove the bar."""
        if self._terminal:
            print(CLEAR_LINE, end="", file=self._output, flush=True)


class Progress:
    """Counts the rows that are done, and shows them with the rows per second and the time left.

    A plan has the rows of a Parquet file and the bytes of others, so the number of all rows is an estimate.
    """

    def __init__(self, plan: Plan, done: Mapping[int, Receipt], display: Display) -> None:
        """Begin with the shards that are done already."""
        self._display = display
        self._total = max(1, sum(map(_size, plan.shards)))
        self._done = sum(_size(shard) for shard in plan.shards if shard.number in done)
        self._rows = self._earlier = sum(receipt.rows for receipt in done.values())
        self._shard: Shard | None = None
        self._started = time.monotonic()

    def update(self, chunk: Chunk) -> None:
        """Count a chunk that has been written."""
        if self._shard and self._shard != chunk.shard:
            self._done += _size(self._shard)
        self._shard = chunk.shard
        self._rows += len(chunk.rows) + len(chunk.rejected)
        share = (self._done + chunk.position - chunk.shard.start) / self._total
        if share and self._rows > self._earlier:
            self._display.show(self._describe(share), share)

    def _describe(self, share: float) -> str:
        rate = (self._rows - self._earlier) / max(time.monotonic() - self._started, 1e-9)
        rows = self._rows / share
        left = duration((rows - self._rows) / rate)
        return f"{self._rows:,} of about {rows:,.0f} rows ({share:.0%}), {rate:,.0f} rows/s, {left} left"


def _size(shard: Shard) -> int:
    return shard.end - shard.start


def duration(seconds: float) -> str:
    """Return seconds as people read them: `42 s`, `3 min 20 s`, `2 h 5 min`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
