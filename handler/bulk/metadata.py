"""Rows as the metadata of vectors: JSON with the values that vector stores take, the same on every machine."""

import base64
import math
from collections.abc import Callable
from typing import Any

import orjson
import pyarrow as pa

Leaf = Callable[[pa.DataType], pa.DataType]


def to_metadata(batch: pa.RecordBatch) -> list[str]:
    """Return the JSON of each row: strings, finite numbers, booleans and lists of strings.

    Null, NaN and infinity are left out. What is nested is JSON in a string, times are text in UTC, bytes are base64.
    """
    columns = [_without_times(column).to_pylist() for column in batch.columns]
    rows = zip(*columns, strict=True) if columns else [()] * batch.num_rows
    return [_encode({name: _flat(value) for name, value in zip(batch.schema.names, row, strict=True)}) for row in rows]


def _encode(row: dict[str, Any]) -> str:
    return orjson.dumps({name: value for name, value in row.items() if value is not None}, default=_text).decode()


def _flat(value: Any) -> Any:  # noqa: ANN401 - any value of Arrow
    match value:
        case float() if not math.isfinite(value):
            return None
        case dict() | list() if not (isinstance(value, list) and all(isinstance(each, str) for each in value)):
            return orjson.dumps(value, default=_text, option=orjson.OPT_NON_STR_KEYS).decode()
        case int() if value.bit_length() > 63:
            return str(value)
        case _:
            return value


def _text(value: Any) -> str:  # noqa: ANN401 - as above
    """Return what JSON has no type for as text."""
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)


def _without_times(column: pa.Array) -> pa.Array:
    """Return a column with times as text: Python has no nanoseconds, and a machine may lack the names of time zones."""
    in_utc = _replace(column.type, lambda kind: pa.timestamp(kind.unit, "UTC") if _has_zone(kind) else kind)
    as_text = _replace(in_utc, lambda kind: pa.string() if pa.types.is_temporal(kind) else kind)
    return column if as_text == column.type else column.cast(in_utc).cast(as_text)


def _has_zone(kind: pa.DataType) -> bool:
    return pa.types.is_timestamp(kind) and kind.tz is not None


def _replace(kind: pa.DataType, leaf: Leaf) -> pa.DataType:
    """Return a type with the types in it replaced that contain no others."""
    types = pa.types
    if types.is_struct(kind):
        new = pa.struct([field.with_type(_replace(field.type, leaf)) for field in kind])
    elif types.is_map(kind):
        new = pa.map_(_replace(kind.key_type, leaf), _replace(kind.item_type, leaf))
    elif types.is_fixed_size_list(kind):
        new = pa.list_(_replace(kind.value_type, leaf), kind.list_size)
    elif types.is_list(kind):
        new = pa.list_(_replace(kind.value_type, leaf))
    elif types.is_large_list(kind):
        new = pa.large_list(_replace(kind.value_type, leaf))
    elif types.is_dictionary(kind) and leaf(kind.value_type) != kind.value_type:
        new = leaf(kind.value_type)
    else:
        new = leaf(kind)
    return new
