"""Rows as the readers of all formats yield them, and those that they cannot read."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import pyarrow as pa

MAX_ROWS, MAX_BYTES = 2048, 4 << 20  # of one batch: about what is embedded at once
MAX_ROW_BYTES = 16 << 20
SHARD_ROWS, SHARD_BYTES = 20_000, 8 << 20  # about 100 seconds of one processor
SHARD_TOTAL_BYTES = 64 << 20  # of all columns: parts are closed at 128 MB, and are to have 250 MB at most
Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Reject:
    """A row that cannot be read; `code` is for programs, and `message` for people."""

    position: int
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Rows:
    """Consecutive rows of a file: those that could be read, their positions, and those that could not.

    A position is the row's number in a Parquet file, and its first byte (uncompressed) in a file of another format.
    """

    batch: pa.RecordBatch
    positions: list[int]
    rejects: list[Reject]


Parsed = tuple[int, int, Row | Reject]  # of a text format: a row's position, its bytes, and what is in it


def group(
    parsed: Iterable[Parsed[Row]], mismatch: Callable[[Row], str | None], batch: Callable[[list[Row]], pa.RecordBatch]
) -> Iterator[Rows]:
    """Yield rows in batches of at most MAX_ROWS, which end where they have MAX_BYTES.

    Args:
        parsed: the rows.
        mismatch: returns how a row contradicts the schema, if it does.
        batch: returns the others as a batch.
    """
    rows: list[Row] = []
    positions: list[int] = []
    rejects: list[Reject] = []
    total = 0
    for position, size, row in parsed:
        if isinstance(row, Reject):
            rejects.append(row)
        elif problem := mismatch(row):
            rejects.append(Reject(position, "schema_mismatch", problem))
        else:
            rows.append(row)
            positions.append(position)
        total += size
        if total >= MAX_BYTES or len(positions) + len(rejects) == MAX_ROWS:
            yield Rows(batch(rows), positions, rejects)
            rows, positions, rejects, total = [], [], [], 0
    if positions or rejects:
        yield Rows(batch(rows), positions, rejects)


def select(batch: pa.RecordBatch, kept: Sequence[int]) -> pa.RecordBatch:
    """Return some rows of a batch, in order; pyarrow's `take` and `filter` do not know every type, such as views."""
    runs: list[list[int]] = []  # [start, end)
    for index in kept:
        if runs and runs[-1][1] == index:
            runs[-1][1] += 1
        else:
            runs.append([index, index + 1])
    slices = [batch.slice(start, end - start) for start, end in runs]
    return pa.concat_batches(slices) if slices else batch.slice(0, 0)


def size_of(batch: pa.RecordBatch) -> int:
    """Return the bytes of the rows; `nbytes` of string views would count all rows that their buffers hold."""
    return sum(_plain(column).nbytes for column in batch.columns)


def _plain(column: pa.Array) -> pa.Array:
    if pa.types.is_string_view(column.type):
        return column.cast(pa.large_string())
    if pa.types.is_binary_view(column.type):
        return column.cast(pa.large_binary())
    return column


def too_large(position: int) -> Reject:
    """Return the reject of a row that is too long to be read."""
    return Reject(position, "row_too_large", f"The row has more than {MAX_ROW_BYTES:,} bytes.")


def invalid_utf8(position: int, error: UnicodeDecodeError) -> Reject:
    """Return the reject of a row that is not UTF-8."""
    return Reject(position, "invalid_utf8", f"The row is not UTF-8: {error.reason} at its byte {error.start}.")
