"""Files of all formats in a folder, and all of their rows as the readers yield them."""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa

from handler.bulk.formats import read_range, read_schema, split
from handler.bulk.rows import MAX_ROWS, Reject
from handler.storage.entries import Entry, Storage
from handler.storage.folder import Folder

COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "": lambda content: content,
    ".gz": gzip.compress,
    ".zst": lambda content: pa.compress(content, "zstd", asbytes=True),
}


def put(folder: Path, name: str, content: bytes) -> tuple[Storage, Entry]:
    """Write a file; return it as input."""
    (folder / name).write_bytes(content)
    storage = Folder(folder)
    return storage, storage.entry(name)


def rows_of(
    storage: Storage, entry: Entry, ranges: list[tuple[int, int]] | None = None, text: str = "text"
) -> tuple[list[tuple[int, dict[str, Any]]], list[Reject]]:
    """Return the positions and the contents of the rows of a file, read by ranges, and its rejects."""
    schema = read_schema(storage, [entry], text)
    rows: list[tuple[int, dict[str, Any]]] = []
    rejects: list[Reject] = []
    for start, end in split(storage, entry, text) if ranges is None else ranges:
        for batch in read_range(storage, entry, start, end, schema):
            assert batch.batch.schema.equals(schema, check_metadata=True)
            assert batch.batch.num_rows == len(batch.positions)
            assert 0 < len(batch.positions) + len(batch.rejects) <= MAX_ROWS
            rows += zip(batch.positions, batch.batch.to_pylist(), strict=True)
            rejects += batch.rejects
    return rows, rejects
