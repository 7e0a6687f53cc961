"""Metadata of vectors: JSON that vector stores take, from values of every type, wherever it is written."""

import json
import os
import subprocess
import sys
from decimal import Decimal

import pyarrow as pa
import pytest

from handler.bulk.metadata import to_metadata

DAY = 1_767_225_600  # 2026-01-01 in UTC, in seconds


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array(["é", None, ""]), ["é", None, ""]),
        (pa.array([1.5, float("nan"), float("-inf")]), [1.5, None, None]),
        (pa.array([True, None, False]), [True, None, False]),
        (pa.array([2**63, 1], pa.uint64()), ["9223372036854775808", 1]),
        (pa.array([["a", "b"], [], None]), [["a", "b"], [], None]),
        (pa.array([["a", None], None]), ['["a",null]', None]),
        (pa.array([[1, 2]]), ["[1,2]"]),
        (pa.array([{"a": {"b": [b"\xff"]}}]), ['{"a":{"b":["/w=="]}}']),
        (pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int8())), ['[["k",1]]']),
        (pa.array([b"\xff"]), ["/w=="]),
        (pa.array([Decimal("1.50")]), ["1.50"]),
        (pa.array([1.5], pa.float16()), [1.5]),
        (pa.array(["a"]).dictionary_encode(), ["a"]),
        (pa.array(["a"], pa.string_view()), ["a"]),
        (pa.nulls(1), [None]),
        (pa.array([DAY], pa.timestamp("s")), ["2026-01-01 00:00:00"]),
        (pa.array([DAY * 10**9 + 1], pa.timestamp("ns", "Europe/Berlin")), ["2026-01-01 00:00:00.000000001Z"]),
        (pa.array([DAY], pa.timestamp("s", "No/where")), ["2026-01-01 00:00:00Z"]),
        (pa.array([10**15], pa.timestamp("s")), ["<value out of range: 1000000000000000>"]),
        (pa.array([[DAY]], pa.list_(pa.timestamp("s", "Asia/Tokyo"))), [["2026-01-01 00:00:00Z"]]),
        (pa.array([{"day": 1}], pa.struct([("day", pa.date32())])), ['{"day":"1970-01-02"}']),
        (pa.array([1], pa.time64("ns")), ["00:00:00.000000001"]),
        (pa.array([1], pa.duration("ns")), ["1"]),
    ],
    ids=lambda value: str(getattr(value, "type", "")),
)
def test_values_of_every_type(column, expected):
    rows = [json.loads(row) for row in to_metadata(pa.record_batch([column], ["x"]))]
    assert rows == [{} if value is None else {"x": value} for value in expected]


def test_rows_without_other_columns_are_empty():
    batch = pa.record_batch({"x": [1, 2]}).select([])
    assert to_metadata(batch) == ["{}"] * batch.num_rows


def test_metadata_is_the_same_without_the_names_of_time_zones():
    script = """
import pyarrow as pa
from handler.bulk.metadata import to_metadata
print(to_metadata(pa.record_batch([pa.array([0], pa.timestamp("ns", "Europe/Berlin"))], ["x"])))
"""
    outputs = {
        subprocess.check_output([sys.executable, "-c", script], env=os.environ | more)
        for more in ({}, {"TZDIR": "/nowhere", "PYTHONTZPATH": "/nowhere"}, {"TZ": "Asia/Tokyo"})
    }
    assert outputs == {b"""['{"x":"1970-01-01 00:00:00.000000000Z"}']\n"""}
