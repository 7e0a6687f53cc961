"""What is written: two layouts, and a file whose bytes depend on the rows alone."""

import hashlib
import json
import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from handler.bulk.output import ParquetWriter, output_batch, output_schema
from handler.errors import BulkError

ROWS = pa.table(
    {
        "id": pa.array([1, 2], pa.int64()),
        "text": ["é", None],
        "tags": [["a", "b"], None],
        "nested": [{"a": 1}, {"a": 2}],
        "score": [0.5, float("nan")],
        "raw": [b"\xff", None],
        "price": [Decimal("1.50"), None],
        "day": [datetime(2026, 1, 2, tzinfo=UTC), None],
    }
).to_batches()[0]
VECTORS = np.array([[0.5, -1], [2, 3]], np.float32)


def test_layout_columns_adds_the_vectors_to_all_columns(tmp_path):
    schema = output_schema(ROWS.schema, "columns", 2)
    batch = output_batch(ROWS, VECTORS, ["1", "2"], "id", schema)
    with ParquetWriter(tmp_path / "a", schema, {"model": "tiny"}) as writer:
        writer.write(batch)
    table = pq.read_table(tmp_path / "a")
    assert str(table.drop(["embedding"]).to_pylist()) == str(ROWS.to_pylist())  # NaN is not equal to itself
    assert table.schema.field("embedding").type == pa.list_(pa.float32(), 2)
    assert table["embedding"].to_pylist() == VECTORS.tolist()
    assert table.schema.metadata == {b"model": b"tiny"}


def test_layout_vectors_is_what_vector_stores_import():
    batch = output_batch(ROWS, VECTORS, ["1", "2"], "id", output_schema(ROWS.schema, "vectors", 2))
    assert batch.schema == pa.schema(
        [("id", pa.string()), ("values", pa.list_(pa.float32())), ("metadata", pa.string())]
    )
    assert batch["id"].to_pylist() == ["1", "2"]
    assert batch["values"].to_pylist() == VECTORS.tolist()
    assert [json.loads(each) for each in batch["metadata"].to_pylist()] == [
        {
            "text": "é",
            "tags": ["a", "b"],
            "nested": '{"a":1}',
            "score": 0.5,
            "raw": "/w==",
            "price": "1.50",
            "day": "2026-01-02 00:00:00.000000Z",
        },
        {"nested": '{"a":2}'},  # null and NaN are not in JSON
    ]


def test_input_with_an_embedding_is_refused():
    with pytest.raises(BulkError, match="has a column 'embedding' already; rename or drop it, or write LAYOUT=vectors"):
        output_schema(pa.schema([("embedding", pa.string())]), "columns", 2)


WRITE = """
import sys, hashlib, numpy as np, pyarrow as pa
from pathlib import Path
from handler.bulk.output import ParquetWriter, output_batch, output_schema
pa.set_cpu_count(int(sys.argv[2]))
texts = pa.record_batch({"text": [f"text {i % 700} é" * (i % 9) for i in range(20_000)], "n": list(range(20_000))})
vectors = np.random.default_rng(1).standard_normal((20_000, 32)).astype(np.float32)
schema = output_schema(texts.schema, "columns", 32)
with ParquetWriter(Path(sys.argv[1]), schema, {"b": "1", "a": "2"}) as writer:
    for start in range(0, 20_000, int(sys.argv[3])):
        rows = texts.slice(start, int(sys.argv[3]))
        writer.write(output_batch(rows, vectors[start : start + rows.num_rows], [], "", schema))
"""


def test_bytes_depend_on_the_rows_alone(tmp_path):
    hashes = set()
    for threads, step, seed in ((1, 2048, "1"), (7, 1000, "2"), (2, 20_000, "3")):
        command = [sys.executable, "-c", WRITE, str(tmp_path / "a"), str(threads), str(step)]
        subprocess.run(command, check=True, env={"PYTHONHASHSEED": seed})
        hashes.add(hashlib.sha256((tmp_path / "a").read_bytes()).hexdigest())
    assert len(hashes) == 1
    metadata = pq.read_metadata(tmp_path / "a")
    assert [metadata.row_group(index).num_rows for index in range(metadata.num_row_groups)] == [8192, 8192, 3616]


@pytest.mark.parametrize("kind", [pa.string(), pa.string_view()])
def test_row_groups_of_large_rows_have_fewer_whatever_the_batches(tmp_path, kind):
    rows = pa.record_batch({"text": pa.array([str(i % 10) * 100_000 for i in range(2000)], kind)})
    contents = set()
    for step in (1, 300, 2000):
        with ParquetWriter(tmp_path / "a", rows.schema, {}) as writer:
            for start in range(0, 2000, step):
                writer.write(rows.slice(start, step))
        contents.add((tmp_path / "a").read_bytes())
    metadata = pq.read_metadata(tmp_path / "a")
    assert [metadata.row_group(index).num_rows for index in range(metadata.num_row_groups)] == [704, 704, 592]
    assert len(contents) == 1


def test_full_disk_is_one_line(tmp_path):
    """A limit on the size of files stands for the disk."""
    script = WRITE.replace("import sys", "import sys, resource").replace(
        "pa.set_cpu_count", "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\npa.set_cpu_count"
    )
    command = [sys.executable, "-B", "-c", script, str(tmp_path / "a"), "1", "2048"]
    # without bytecode and coverage, whose files the limit would cut
    process = subprocess.run(command, env={}, check=False, capture_output=True, text=True)
    assert process.stderr.splitlines()[-1] == f"handler.errors.BulkError: {tmp_path}/a: File too large"


def test_folder_that_is_missing_is_one_line(tmp_path):
    with (
        pytest.raises(BulkError, match="missing/a: the file does not exist"),
        ParquetWriter(tmp_path / "missing" / "a", ROWS.schema, {}),
    ):
        pass
