"""Vectors of an earlier output, found by the SHA-256 of their texts, so that only what changed is embedded.

An output has, for each part, a file with 32 bytes a row: the SHA-256 of the row's text. The index has 8 bytes a row,
sorted: the first bits of the SHA-256, then the row's number. It is a mapped file without a name, whose pages are the
kernel's to drop. A row that the index finds counts only if all 32 bytes are equal.
"""

import json
import os
import tempfile
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from handler.bulk.output import VECTOR
from handler.bulk.plan import Options
from handler.errors import BulkError
from handler.storage.folder import from_os_error
from handler.storage.uri import Entry, Storage, open_storage

Vectors = NDArray[np.float32]
Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")

MANIFEST = "_manifest.json"
DIGEST_BYTES = 32
INFLUENCE = ("digest", "dimensions", "input_type", "long_input")  # the options that a vector depends on
# A row group has 13 MB of vectors. Rows in about the order of the earlier output need one or two at a time. Of many,
# those with the fewest of the rows are not read: to embed these rows takes less time.
MAX_GROUPS, MAX_CACHED = 16, 4


@dataclass(frozen=True, slots=True)
class Part:
    """A part's name without suffix, and the number of its first row among those of the output."""

    name: str
    first: int


@dataclass(frozen=True, slots=True)
class File:
    """A part's Parquet file: its footer, and the number of the row after each row group."""

    entry: Entry
    metadata: pq.FileMetaData
    ends: list[int]

    def place(self, row: int) -> tuple[int, int]:
        """Return the row group of a row, and the row's place in it."""
        group = bisect_right(self.ends, row)
        return group, row - (self.ends[group - 1] if group else 0)


@dataclass(slots=True)
class Previous:
    """An earlier output: its parts, and the index of its texts. The rest is what was read last."""

    storage: Storage
    column: str
    dimensions: int
    parts: list[Part]
    index: NDArray[np.uint64]
    texts: "OrderedDict[int, bytes]" = field(default_factory=OrderedDict)
    files: "OrderedDict[int, File]" = field(default_factory=OrderedDict)
    groups: "OrderedDict[tuple[int, int], Vectors]" = field(default_factory=OrderedDict)

    def lookup(self, digests: Sequence[bytes]) -> dict[bytes, Vectors]:
        """Return the vectors, float32 (dimensions,), of the texts with these digests that are found.

        Raises:
            BulkError: the earlier output cannot be read.
        """
        groups: dict[tuple[int, int], list[tuple[int, bytes]]] = {}
        for digest, row in self._find(list(dict.fromkeys(digests))).items():
            part = self._part(row)
            group, offset = self._file(part).place(row - self.parts[part].first)
            groups.setdefault((part, group), []).append((offset, digest))
        most = sorted(groups, key=lambda group: len(groups[group]), reverse=True)[:MAX_GROUPS]
        return {
            digest: self._vectors(*group)[offset].copy() for group in sorted(most) for offset, digest in groups[group]
        }

    def _find(self, digests: list[bytes]) -> dict[bytes, int]:
        """Return the number of a row for each digest that has one."""
        mask = np.uint64((1 << _row_bits(len(self.index))) - 1)
        prefixes = _prefixes(b"".join(digests)) & ~mask
        starts, ends = np.searchsorted(self.index, prefixes), np.searchsorted(self.index, prefixes | mask, "right")
        found = {}
        for digest, start, end in zip(digests, starts, ends, strict=True):
            rows = map(int, self.index[start:end] & mask)
            row = next((row for row in rows if self._digest(row) == digest), None)
            if row is not None:
                found[digest] = row
        return found

    def _part(self, row: int) -> int:
        return bisect_right(self.parts, row, key=lambda part: part.first) - 1

    def _digest(self, row: int) -> bytes:
        """Return the SHA-256 of a row's text."""
        number = self._part(row)
        part = self.parts[number]
        texts = _cached(self.texts, number, lambda: self.storage.read(_texts_name(part.name)))
        start = (row - part.first) * DIGEST_BYTES
        return texts[start : start + DIGEST_BYTES]

    def _vectors(self, number: int, group: int) -> Vectors:
        """Return the vectors of a row group, float32 (rows, dimensions)."""
        return _cached(self.groups, (number, group), lambda: self._read_vectors(number, group))

    def _read_vectors(self, number: int, group: int) -> Vectors:
        part = self._file(number)
        with _errors(self._uri(number)), self.storage.random_access(part.entry) as file:
            parquet = pq.ParquetFile(file, metadata=part.metadata)
            column = parquet.read_row_group(group, [self.column]).column(0).combine_chunks()
        flat: Vectors = column.flatten().to_numpy()
        return flat.reshape(-1, self.dimensions)

    def _file(self, number: int) -> "File":
        return _cached(self.files, number, lambda: self._open(number))

    def _open(self, number: int) -> "File":
        entry = self.storage.entry(f"{self.parts[number].name}.parquet")
        with _errors(self._uri(number)), self.storage.random_access(entry) as file:
            metadata = pq.read_metadata(file)
        sizes = (metadata.row_group(group).num_rows for group in range(metadata.num_row_groups))
        return File(entry, metadata, list(accumulate(sizes)))

    def _uri(self, number: int) -> str:
        return f"{self.storage.uri}/{self.parts[number].name}.parquet"


def find_previous(uri: str, options: Options) -> tuple[Storage, dict[str, Any]]:
    """Return an earlier output and its manifest.

    Raises:
        BulkError: it is not finished, or its vectors are not those that these options give.
    """
    storage = open_storage(uri)
    if not storage.exists(MANIFEST):
        raise BulkError(f"{storage.uri}: PREVIOUS names no finished output: there is no {MANIFEST}")
    manifest: dict[str, Any] = json.loads(storage.read(MANIFEST))
    for name in INFLUENCE:
        old, new = manifest["options"][name], getattr(options, name)
        if old != new:
            raise BulkError(f"{storage.uri}: PREVIOUS has vectors of {name} '{old}', and these are of '{new}'; omit it")
    return storage, manifest


def open_previous(uri: str, options: Options) -> Previous:
    """Index an earlier output whose vectors are those that these options give.

    Raises:
        BulkError: it is not finished, or is damaged, or its vectors are others.
    """
    storage, manifest = find_previous(uri, options)
    parts, rows = [], 0
    for part in manifest["parts"]:
        parts.append(Part(part["name"].removesuffix(".parquet"), rows))
        rows += part["rows"]
    column = VECTOR[manifest["options"]["layout"]]
    return Previous(storage, column, options.dimensions, parts, _index(storage, parts, rows))


def _index(storage: Storage, parts: list[Part], rows: int) -> NDArray[np.uint64]:
    """Return the sorted index of all rows, uint64 (rows,)."""
    if not rows:
        return np.empty(0, np.uint64)
    bits = _row_bits(rows)
    with _errors(tempfile.gettempdir()), tempfile.TemporaryFile() as file:
        os.posix_fallocate(file.fileno(), 0, rows * 8)  # a full disk is an error here, and a signal later
        index: NDArray[np.uint64] = np.memmap(file, np.uint64, shape=(rows,))
    for part, end in zip(parts, [*(part.first for part in parts[1:]), rows], strict=True):
        prefixes = _prefixes(storage.read(_texts_name(part.name)))
        if len(prefixes) != end - part.first:
            raise BulkError(
                f"{storage.uri}/{_texts_name(part.name)}: it does not have 32 bytes for each row; omit PREVIOUS"
            )
        numbers = np.arange(part.first, end, dtype=np.uint64)
        index[part.first : end] = prefixes >> np.uint64(bits) << np.uint64(bits) | numbers
    index.sort()
    return index


def _row_bits(rows: int) -> int:
    return max(rows - 1, 1).bit_length()


def _prefixes(digests: bytes) -> NDArray[np.uint64]:
    """Return the first 64 bits of each digest."""
    return np.frombuffer(digests, ">u8")[:: DIGEST_BYTES // 8].astype(np.uint64)


def _texts_name(part: str) -> str:
    return f"_texts/{part}.sha256"


def _cached(cache: "OrderedDict[Key, Value]", key: Key, read: Callable[[], Value]) -> Value:
    """Return what a cache has, or else what is read, which takes the place of what was used longest ago."""
    if key in cache:
        cache.move_to_end(key)
    else:
        cache[key] = read()
        if len(cache) > MAX_CACHED:
            cache.popitem(last=False)
    return cache[key]


@contextmanager
def _errors(where: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise from_os_error(where, error) from error
    except pa.ArrowException as error:
        raise BulkError(f"{where}: it is damaged, or no output of a job ({error}); omit PREVIOUS") from error
