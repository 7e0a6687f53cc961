"""Rows of a batch: some of them, and how many bytes they have."""

import pyarrow as pa
import pytest

from handler.bulk.rows import select, size_of

COLUMNS = [
    pa.array(["a", "b" * 30, None, "d"]),
    pa.array(["a", "b" * 30, None, "d"], pa.string_view()),
    pa.array([b"a", b"b" * 30, None, b"d"], pa.binary_view()),
    pa.array(["a", "b" * 30, None, "a"]).dictionary_encode(),
    pa.array([["a"], None, ["c" * 30], []], pa.list_(pa.string_view())),
    pa.array([[1], None, [2, 3], []], pa.list_view(pa.int32())),
    pa.array([{"a": ["b"]}, None, {"a": None}, {"a": []}]),
]


@pytest.mark.parametrize("column", COLUMNS, ids=lambda column: str(column.type))
def test_some_rows_of_every_type(column):
    batch = pa.record_batch([column, pa.array(range(4))], ["column", "n"])
    rows = batch.to_pylist()
    for kept in ([], [0], [1, 2], [0, 2, 3], [0, 1, 2, 3], [3]):
        chosen = select(batch, kept)
        assert chosen.schema == batch.schema
        assert chosen.to_pylist() == [rows[index] for index in kept]


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["x" * 4000] * 1000),
        pa.array(["x" * 4000] * 1000, pa.string_view()),
        pa.array([b"x" * 4000] * 1000, pa.binary_view()),
    ],
    ids=lambda column: str(column.type),
)
def test_size_is_that_of_the_rows_and_not_of_the_buffers_that_they_share(column):
    batch = pa.record_batch([column], ["column"])
    assert size_of(batch) == pytest.approx(4_000_000, rel=0.01)
    assert size_of(batch.slice(10, 10)) == pytest.approx(40_000, rel=0.01)
