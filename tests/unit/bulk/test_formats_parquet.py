"""Parquet: every row once and in order, whatever rows and row groups a range cuts, and every column as it is."""

import tempfile
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given
from hypothesis import strategies as st

from handler.bulk.formats import split
from tests.fuzz import TEXTS
from tests.unit.bulk.files import put, rows_of


@given(
    texts=st.lists(TEXTS | st.none(), max_size=40),
    group=st.integers(1, 50),
    cuts=st.sets(st.integers(0, 40), max_size=5),
    rows=st.integers(1, 50),
    size=st.integers(1, 2000),
)
def test_every_row_is_in_exactly_one_range(texts, group, cuts, rows, size):
    expected = [(position, {"text": text, "n": position}) for position, text in enumerate(texts)]
    table = pa.table({"text": pa.array(texts, pa.string()), "n": range(len(texts))})
    bounds = sorted({0, len(texts), *(cut for cut in cuts if cut < len(texts))})
    with tempfile.TemporaryDirectory() as folder:
        pq.write_table(table, f"{folder}/a.parquet", row_group_size=group)
        storage, entry = put(Path(folder), "a.parquet", Path(folder, "a.parquet").read_bytes())
        assert rows_of(storage, entry, list(pairwise(bounds))) == (expected, [])
        ranges = split(storage, entry, "text", rows, size)
        assert [0, *(end for _, end in ranges)][-1] == len(texts)
        assert all(end == start for (_, end), (start, _) in pairwise(ranges))
        assert rows_of(storage, entry, ranges) == (expected, [])
