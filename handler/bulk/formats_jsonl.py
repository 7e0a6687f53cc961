"""JSON Lines: ranges are bytes, and a range's first row is found by looking for the end of the line before it."""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import chain, islice
from typing import Any

import orjson
import pyarrow as pa

from handler.bulk.lines import BOM, is_compressed, open_lines
from handler.bulk.rows import Parsed, Reject, Rows, group, invalid_utf8, too_large
from handler.errors import BulkError
from handler.storage.entries import Entry, Storage, in_threads

SAMPLE_BYTES = 1 << 20  # at the start, in the middle and at the end of a file
MAX_REJECTED = 0.9  # of the sampled rows; with more, the file has another format
MAX_ROW_VALUES = 1_000_000  # a value takes up to 100 bytes of memory, and a comma separates it from the next
JSON_TEXT = {b"json": b"true"}  # the metadata of a column whose values are JSON texts
MAX_INT64 = 2**63 - 1  # orjson reads integers up to 2**64 - 1, and larger ones as float
TYPES: dict[frozenset[type], pa.DataType] = {
    frozenset(): pa.string(),  # nothing but null
    frozenset({str}): pa.string(),
    frozenset({bool}): pa.bool_(),
    frozenset({int}): pa.int64(),
    frozenset({float}): pa.float64(),
    frozenset({int, float}): pa.float64(),
}
ACCEPTED: dict[pa.DataType, set[type]] = {
    pa.string(): {str},
    pa.bool_(): {bool},
    pa.int64(): {int},
    pa.float64(): {int, float},
}
ANY: set[type] = {str, bool, int, float, list, dict, object}
Row = dict[str, Any]


def read_schema(storage: Storage, entries: Sequence[Entry], text: str) -> pa.Schema:
    """Return the columns of the sampled rows: scalars have their type, and what is nested or mixed is JSON text."""
    kinds: dict[str, set[type]] = {}
    for found in in_threads(partial(_sample, storage), entries):
        for name, more in found.items():
            kinds.setdefault(name, set()).update(more)
    if kinds.get(text) and str not in kinds[text]:
        raise BulkError(f"{storage.uri}: the column {text!r} holds no strings; TEXT names the column to embed")
    return pa.schema([_field(name, {str} if name == text else found) for name, found in kinds.items()])


def _kind(value: Any) -> type:  # noqa: ANN401 - any JSON
    """Return a value's type; that of an integer of more than 64 bits is `object`, as if it were nested."""
    return object if type(value) is int and value > MAX_INT64 else type(value)


def _field(name: str, kinds: set[type]) -> pa.Field:
    known = TYPES.get(frozenset(kinds))
    return pa.field(name, known) if known else pa.field(name, pa.string(), metadata=JSON_TEXT)


def _sample(storage: Storage, entry: Entry) -> dict[str, set[type]]:
    """Return the types of each key's values at a file's start, middle and end; of a compressed file, at its start."""
    ranges = [(0, 3 * SAMPLE_BYTES)]
    if entry.size > ranges[0][1] and not is_compressed(entry):
        ranges = [
            (start, start + SAMPLE_BYTES) for start in (0, (entry.size - SAMPLE_BYTES) // 2, entry.size - SAMPLE_BYTES)
        ]
    kinds: dict[str, set[type]] = {}
    rejects: list[Reject] = []
    accepted = 0
    for _, _, row in chain.from_iterable(_parse(storage, entry, start, end) for start, end in ranges):
        if isinstance(row, Reject):
            rejects.append(row)
            continue
        accepted += 1
        for name, value in row.items():
            found = kinds.setdefault(name, set())
            if value is not None:
                found.add(_kind(value))
    if len(rejects) > MAX_REJECTED * (accepted + len(rejects)):
        raise BulkError(
            f"{storage.uri}/{entry.name}: this is not JSON Lines, where each line is a JSON object; the line at byte "
            f"{rejects[0].position}: {rejects[0].message}"
        )
    return kinds


def split(storage: Storage, entry: Entry, text: str, rows: int, size: int) -> list[tuple[int, int]]:  # noqa: ARG001
    """Return ranges of `rows` rows of mean length, and of at most `size` bytes."""
    total = lines = 0
    with open_lines(storage, entry, 0, 0) as file:
        for block in file.blocks() if is_compressed(entry) else islice(file.blocks(), 1):
            total, lines = total + len(block), lines + block.count(b"\n")
    step = max(1, min(size, total * rows // max(1, lines)))
    end = total if is_compressed(entry) else entry.size
    return [(start, min(start + step, end)) for start in range(0, end, step)]


def read_range(storage: Storage, entry: Entry, start: int, end: int, schema: pa.Schema) -> Iterator[Rows]:
    """Yield the rows whose first byte is in [start, end)."""
    accepted = {field.name: ANY if field.metadata else ACCEPTED[field.type] for field in schema}

    def mismatch(row: Row) -> str | None:
        for name, value in row.items():
            if name not in accepted:
                return f"The key {name!r} occurs in none of the sampled rows."
            if value is not None and _kind(value) not in accepted[name]:
                return f"The value of {name!r} is not {schema.field(name).type}, as in the sampled rows."
        return None

    def batch(rows: list[Row]) -> pa.RecordBatch:
        return pa.record_batch([_column(rows, field) for field in schema], schema)

    return group(_parse(storage, entry, start, end), mismatch, batch)


def _parse(storage: Storage, entry: Entry, start: int, end: int) -> Iterator[Parsed[Row]]:
    """Yield what is in the lines that begin in [start, end), except in blank ones."""
    with open_lines(storage, entry, start, end) as lines:
        for position, line in lines.until(end):
            content = line and (line if position else line.removeprefix(BOM)).strip(b" \t\r\n")
            if content is None:
                yield position, 0, too_large(position)
            elif content:
                yield position, len(content), _parse_row(content, position)


def _parse_row(content: bytes, position: int) -> Row | Reject:
    if len(content) > MAX_ROW_VALUES and content.count(b",") > MAX_ROW_VALUES:
        return Reject(position, "row_too_large", f"The row has more than {MAX_ROW_VALUES:,} commas.")
    try:
        row = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        try:
            content.decode()
        except UnicodeDecodeError as cause:
            return invalid_utf8(position, cause)
        return Reject(position, "invalid_json", f"The row is not valid JSON: {error}.")
    return row if isinstance(row, dict) else Reject(position, "invalid_json", "The row is not a JSON object.")


def _column(rows: list[Row], field: pa.Field) -> pa.Array:
    values: Iterable[Any] = (row.get(field.name) for row in rows)
    if field.metadata:
        values = (None if value is None else orjson.dumps(value).decode() for value in values)
    elif field.type == pa.float64():
        values = (float(value) if type(value) is int else value for value in values)
    return pa.array(values, field.type, size=len(rows))
