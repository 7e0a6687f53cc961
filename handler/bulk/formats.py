"""Parquet, JSONL and CSV behind one interface: the schema of an input, ranges of its files, and the rows of a range.

A range is two numbers, [start, end): rows of a Parquet file, else bytes of the uncompressed file, and a row belongs to
the range that contains its first byte. So ranges that cover a file yield each of its rows exactly once.
"""

from collections.abc import Iterator, Sequence
from typing import Protocol

import pyarrow as pa

from handler.bulk import formats_csv, formats_jsonl, formats_parquet
from handler.bulk.rows import SHARD_BYTES, SHARD_ROWS, Rows
from handler.errors import BulkError
from handler.storage.entries import Entry, Storage


class Format(Protocol):
    """A module that reads one format."""

    def read_schema(self, storage: Storage, entries: Sequence[Entry], text: str) -> pa.Schema:
        """Return the schema of all files."""

    def split(self, storage: Storage, entry: Entry, text: str, rows: int, size: int) -> list[tuple[int, int]]:
        """Return ranges that cover a file."""

    def read_range(self, storage: Storage, entry: Entry, start: int, end: int, schema: pa.Schema) -> Iterator[Rows]:
        """Yield the rows of a range."""


FORMATS: dict[str, Format] = {
    ".parquet": formats_parquet,
    ".jsonl": formats_jsonl,
    ".ndjson": formats_jsonl,
    ".json": formats_jsonl,
    ".csv": formats_csv,
    ".tsv": formats_csv,
}


def read_schema(storage: Storage, entries: Sequence[Entry], text: str) -> pa.Schema:
    """Return the schema that all files have in common.

    Raises:
        BulkError: a file has another one, or another format, or cannot be read; two columns have one name; the column
            `text` is missing, or does not hold strings.
    """
    first = _format(storage, entries[0])
    for entry in entries:
        if _format(storage, entry) is not first:
            raise BulkError(
                f"{storage.uri}/{entry.name}: its format is not that of {entries[0].name}; embed one format at a time"
            )
    schema = first.read_schema(storage, entries, text)
    if duplicates := [name for name in schema.names if schema.names.count(name) > 1]:
        raise BulkError(f"{storage.uri}: two columns have the name {duplicates[0]!r}; rename one")
    if text not in schema.names:
        raise BulkError(f"{storage.uri}: there is no column {text!r}; TEXT names one of {schema.names}")
    if not holds_strings(schema.field(text).type):
        raise BulkError(f"{storage.uri}: the column {text!r} holds {schema.field(text).type}, and must hold strings")
    return schema


def split(
    storage: Storage, entry: Entry, text: str, rows: int = SHARD_ROWS, size: int = SHARD_BYTES
) -> list[tuple[int, int]]:
    """Return consecutive ranges that cover a file, of about `rows` rows, and at most about `size` bytes of text."""
    return _format(storage, entry).split(storage, entry, text, rows, size)


def read_range(storage: Storage, entry: Entry, start: int, end: int, schema: pa.Schema) -> Iterator[Rows]:
    """Yield the rows of a range in order, in batches of at most 2,048 rows and about 4 MiB.

    Raises:
        BulkError: the file has changed, or is damaged.
    """
    return _format(storage, entry).read_range(storage, entry, start, end, schema)


def _format(storage: Storage, entry: Entry) -> Format:
    name = entry.name.lower().removesuffix(".gz").removesuffix(".zst")
    for suffix, module in FORMATS.items():
        if name.endswith(suffix):
            return module
    known = ", ".join(FORMATS)
    raise BulkError(
        f"{storage.uri}/{entry.name}: its format is unknown; expected {known} (all but .parquet also .gz or .zst); "
        "names that start with '_' or '.' are not read"
    )


def holds_strings(kind: pa.DataType) -> bool:
    """Return whether a column of this type holds strings."""
    value = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(value) or pa.types.is_large_string(value) or pa.types.is_string_view(value))
