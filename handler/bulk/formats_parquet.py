"""Parquet: ranges are rows, and only the row groups that overlap a range are read, as a stream."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import pyarrow as pa
import pyarrow.parquet as pq

from handler.bulk.rows import MAX_BYTES, MAX_ROWS, SHARD_TOTAL_BYTES, Reject, Rows, size_of
from handler.errors import BulkError
from handler.storage.entries import Entry, Storage, in_threads

BUFFER_BYTES = 32 << 20  # for the columns of a row group together: a reader holds a part of each, not all of it


def read_schema(storage: Storage, entries: Sequence[Entry], text: str) -> pa.Schema:  # noqa: ARG001 - as other formats
    """Return the schema of all files, which their footers have in common."""
    schemas = list(in_threads(partial(_read_one_schema, storage), entries))
    for entry, schema in zip(entries, schemas, strict=True):
        if not schema.equals(schemas[0]):
            raise BulkError(f"{storage.uri}/{entry.name}: {_difference(schema, schemas[0])} in {entries[0].name}")
    return schemas[0].remove_metadata()


def _read_one_schema(storage: Storage, entry: Entry) -> pa.Schema:
    with open_parquet(storage, entry, 1) as file:
        return file.schema_arrow


def _difference(schema: pa.Schema, first: pa.Schema) -> str:
    for name in dict.fromkeys([*first.names, *schema.names]):
        here, there = _described(schema, name), _described(first, name)
        if here != there:
            return f"the column {name!r} is {here}, but {there}"
    return "its columns are in another order than"


def _described(schema: pa.Schema, name: str) -> str:
    fields = [schema.field(index) for index in schema.get_all_field_indices(name)]
    return ", ".join(f"{field.type}{'' if field.nullable else ' not null'}" for field in fields) or "missing"


def split(storage: Storage, entry: Entry, text: str, rows: int, size: int) -> list[tuple[int, int]]:
    """Return ranges of at most `rows` rows, and about `size` bytes of `text` and SHARD_TOTAL_BYTES of all columns."""
    ranges, start, row = [], 0, 0
    filled = 0.0  # the share of a range that the rows since `start` fill
    with open_parquet(storage, entry, 1) as file:
        metadata = file.metadata
        column = next(i for i in range(metadata.num_columns) if metadata.schema.column(i).path == text)
        for group in map(metadata.row_group, range(metadata.num_row_groups)):
            if not group.num_rows:
                continue
            text_bytes, total_bytes = group.column(column).total_uncompressed_size, group.total_byte_size
            share = max(1 / rows, text_bytes / group.num_rows / size, total_bytes / group.num_rows / SHARD_TOTAL_BYTES)
            end = row + group.num_rows
            while row < end:
                step = min(end - row, max(1, round((1 - filled) / share)))
                row += step
                filled += step * share
                if filled >= 1 - share / 2:
                    ranges.append((start, row))
                    start, filled = row, 0.0
    return [*ranges, (start, row)] if row > start else ranges


def read_range(storage: Storage, entry: Entry, start: int, end: int, schema: pa.Schema) -> Iterator[Rows]:
    """Yield rows [start, end)."""
    with open_parquet(storage, entry, len(schema)) as file:
        row = 0
        for index in range(file.metadata.num_row_groups):
            group = file.metadata.row_group(index)
            first, row = row, row + group.num_rows
            if first >= end or start >= row:
                continue
            mean = max(1, group.total_byte_size // group.num_rows)
            position = first
            for batch in file.iter_batches(max(1, min(MAX_ROWS, MAX_BYTES // mean)), [index], use_threads=False):
                skipped = max(0, start - position)
                yield from _valid(batch.slice(skipped, max(0, end - position - skipped)), position + skipped)
                position += batch.num_rows
                if position >= end:
                    return
            if position < row:
                raise pa.ArrowInvalid(
                    f"row group {index} has {position - first} rows, and its footer says {row - first}"
                )


def _valid(batch: pa.RecordBatch, position: int) -> Iterator[Rows]:
    """Yield a batch, in halves as long as it is too large, or contains a row with invalid UTF-8."""
    if not batch.num_rows:
        return
    try:
        batch.validate(full=True)
        error = None
    except pa.ArrowInvalid as invalid:
        error = invalid
    if batch.num_rows == 1 and error:
        rejected = Reject(position, "invalid_utf8", f"The row is invalid: {str(error).splitlines()[0]}.")
        yield Rows(batch.slice(0, 0), [], [rejected])
    elif batch.num_rows > 1 and (error or size_of(batch) > MAX_BYTES):
        half = batch.num_rows // 2
        yield from _valid(batch.slice(0, half), position)
        yield from _valid(batch.slice(half), position + half)
    else:
        yield Rows(batch, list(range(position, position + batch.num_rows)), [])


@contextmanager
def open_parquet(storage: Storage, entry: Entry, columns: int) -> Iterator[pq.ParquetFile]:
    """Open a file, which is read through a buffer for each of its columns."""
    buffer = max(64 << 10, min(4 << 20, BUFFER_BYTES // columns))
    try:
        with (
            storage.random_access(entry) as file,
            pq.ParquetFile(file, buffer_size=buffer, pre_buffer=False, page_checksum_verification=True) as parquet,
        ):
            yield parquet
    except (pa.ArrowException, OSError) as error:
        problem = str(error).splitlines()[0]
        raise BulkError(f"{storage.uri}/{entry.name}: it cannot be read as Parquet: {problem}") from error
