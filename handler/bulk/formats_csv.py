"""CSV and TSV as in RFC 4180 (www.rfc-editor.org/rfc/rfc4180): a header, and fields that may be quoted.

A line ends a record unless it ends inside quotes, which only a reader that comes from the file's start can know. So
`split` reads the whole file, and its ranges start where records do.
"""

import csv
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice, pairwise

import pyarrow as pa

from handler.bulk.lines import BOM, Lines, open_lines
from handler.bulk.rows import MAX_ROW_BYTES, Parsed, Reject, Rows, group, invalid_utf8, too_large
from handler.errors import BulkError
from handler.storage.entries import Entry, Storage, in_threads


@dataclass(frozen=True, slots=True)
class Dialect:
    """A delimiter, and how a line goes on: from the start of a record (`fields`), or inside quotes (`quoted`).

    Either matches to the end of the line unless that is inside quotes. Only at the start of a field, a quote opens one.
    """

    delimiter: str
    fields: re.Pattern[bytes]
    quoted: re.Pattern[bytes]

    @classmethod
    def of(cls, entry: Entry) -> "Dialect":
        """Return the dialect that a file's name tells."""
        delimiter = "\t" if re.search(r"\.tsv(\.\w+)?$", entry.name.lower()) else ","
        rest = rf"[^{delimiter}\n]*+"
        closed = rf'(?:[^"]++|"")*+"{rest}'
        field = rf'(?:"{closed}|(?!"){rest})'
        more = f"(?:{delimiter}{field})*+"
        return cls(delimiter, re.compile((field + more).encode()), re.compile((closed + more).encode()))

    def ends_quoted(self, line: bytes, *, quoted: bool) -> bool:
        """Return whether a line ends inside quotes, if it begins so or not."""
        if b'"' not in line:
            return quoted
        match = (self.quoted if quoted else self.fields).match(line)
        return match is None or match.end() < len(line.removesuffix(b"\n"))


def read_schema(storage: Storage, entries: Sequence[Entry], text: str) -> pa.Schema:  # noqa: ARG001 - as other formats
    """Return the columns of the header, which all files have in common; every one holds strings."""
    first: tuple[Entry, list[str]] | None = None
    for entry, header in zip(entries, in_threads(partial(_read_header, storage), entries), strict=True):
        if header is None:
            continue
        first = first or (entry, header)
        if header != first[1]:
            raise BulkError(
                f"{storage.uri}/{entry.name}: its header is {header}, but that of {first[0].name} is {first[1]}"
            )
    if not first:
        raise BulkError(f"{storage.uri}: the files are empty; the first line of a CSV file names its columns")
    return pa.schema([(name, pa.string()) for name in first[1]])


def _read_header(storage: Storage, entry: Entry) -> list[str] | None:
    for position, _, row in _parse(storage, entry, 0, sys.maxsize):
        if isinstance(row, Reject):
            raise BulkError(f"{storage.uri}/{entry.name}: its header cannot be read: {row.message} (byte {position})")
        return row
    return None


def split(storage: Storage, entry: Entry, text: str, rows: int, size: int) -> list[tuple[int, int]]:  # noqa: ARG001
    """Return ranges of at most `rows` rows and `size` bytes, or of one row, without the header."""
    starts: list[int] = []
    count = end = 0
    for start, length, _ in islice(_parse(storage, entry, 0, sys.maxsize), 1, None):
        if not starts or count == rows or start + length - starts[-1] > size:
            starts.append(start)
            count = 0
        count, end = count + 1, start + length
    return list(pairwise([*starts, end]))


def read_range(storage: Storage, entry: Entry, start: int, end: int, schema: pa.Schema) -> Iterator[Rows]:
    """Yield the rows that begin in [start, end); a row begins at `start`."""

    def mismatch(row: list[str]) -> str | None:
        return None if len(row) == len(schema) else f"The row has {len(row)} fields, and the header {len(schema)}."

    def batch(rows: list[list[str]]) -> pa.RecordBatch:
        columns = zip(*rows, strict=True) if rows else ([] for _ in schema)
        return pa.record_batch([pa.array(column, pa.string()) for column in columns], schema)

    return group(_parse(storage, entry, start, end), mismatch, batch)


def _parse(storage: Storage, entry: Entry, start: int, end: int) -> Iterator[Parsed[list[str]]]:
    """Yield the fields of the records that begin in [start, end), except blank ones."""
    dialect = Dialect.of(entry)
    csv.field_size_limit(MAX_ROW_BYTES)  # of the process: Python's default is 128 KiB
    with open_lines(storage, entry, start, end) as lines:
        for position, size, content in _records(lines, dialect, end):
            if size < 0:
                where = f"{storage.uri}/{entry.name}"
                raise BulkError(f"{where}: the quotes of the row at byte {position} are not closed; correct that row")
            if content is None:
                yield position, size, too_large(position)
            elif content.strip(b"\r\n"):
                yield position, size, _parse_record(content, position, dialect.delimiter)


def _parse_record(content: bytes, position: int, delimiter: str) -> list[str] | Reject:
    try:
        return next(csv.reader([content.decode("utf-8" if position else "utf-8-sig")], delimiter=delimiter))
    except csv.Error as error:
        return Reject(position, "invalid_csv", f"The row is not valid CSV: {error}.")
    except UnicodeDecodeError as error:
        return invalid_utf8(position, error)


def _records(lines: Lines, dialect: Dialect, end: int) -> Iterator[tuple[int, int, bytes | None]]:
    """Yield the start, the size and the content of records; None if it is too large; size -1 if quotes stay open."""
    while (start := lines.position) < end:
        read: list[bytes] = []
        size, quoted = 0, False
        while line := lines.readline(MAX_ROW_BYTES + 1):
            size += len(line)
            if size <= MAX_ROW_BYTES:
                quoted = dialect.ends_quoted(line if start or read else line.removeprefix(BOM), quoted=quoted)
                read.append(line)
            else:  # perhaps a piece of a line, so that only the number of quotes is known
                quoted ^= line.count(b'"') % 2 == 1
                read.clear()
            if line.endswith(b"\n") and not quoted:
                break
        if not size:
            return
        yield start, -1 if quoted else size, b"".join(read) if size <= MAX_ROW_BYTES else None
