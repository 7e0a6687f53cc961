"""Reading and writing of bulk jobs: processor time per row, compared with that of embedding a sentence.

python -m benchmarks.bulk_formats

A row has an ID, a text of 12 words (a sentence of STS-B) or 50, and a number. Reading is from ranges to rows, in order;
writing is a shard's file, and then its part: reading the shard again, and writing it with others.
"""

import csv
import gzip
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from handler.bulk.formats import read_range, read_schema, split
from handler.bulk.output import ParquetWriter, output_batch, output_schema
from handler.bulk.plan import Layout
from handler.storage.folder import Folder

ROWS, DIMENSIONS, BATCH = 60_000, 384, 2048
EMBEDDING_US = 2e6 / 1600  # two cores embed about 1,600 sentences a second (make bench)
SYLLABLES = ("ka", "lo", "mi", "re", "su", "ta", "ven", "dor")


def main() -> None:
    """Print microseconds of processor time per row, and what the import of pyarrow takes."""
    print(f"{'':34}{'12 words':>20}{'50 words':>20}")
    columns = [measure(words) for words in (12, 50)]
    for name in columns[0]:
        figures = "".join(f"{column[name]:10.2f} {column[name] / EMBEDDING_US:8.2%} " for column in columns)
        print(f"{name:34}{figures}")
    print(f"\nmicroseconds of processor time per row, and their share of {EMBEDDING_US:,.0f}, which a sentence takes")
    script = "import time, resource; t = time.perf_counter(); import pyarrow.parquet; print(time.perf_counter() - t)"
    memory = "print([line for line in open('/proc/self/status') if line.startswith('VmHWM')][0].split()[1])"
    seconds, kilobytes = subprocess.check_output([sys.executable, "-c", f"{script}; {memory}"], text=True).split()
    print(
        f"import of pyarrow.parquet: {float(seconds) * 1000:.0f} ms, {int(kilobytes) / 1024:.0f} MB with Python itself"
    )


def measure(words: int) -> dict[str, float]:
    """Return the microseconds per row of each reader and of the writer, for texts of `words` words."""
    random = np.random.default_rng(0)
    vocabulary = ["".join(random.choice(SYLLABLES, 3)) for _ in range(5000)]
    texts = [" ".join(each) for each in random.choice(vocabulary, (ROWS, words)).tolist()]
    table = pa.table({"id": range(ROWS), "text": texts, "score": random.random(ROWS)})
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_inputs(folder, table)
        results = {f"read {path.name}": per_row(partial(read, path)) for path in sorted(folder.iterdir())}
        vectors = random.standard_normal((ROWS, DIMENSIONS), np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        for layout in get_args(Layout):
            path = folder / layout
            results[f"write a shard, layout {layout}"] = per_row(partial(write, path, table, vectors, layout))
            results[f"merge it, layout {layout}"] = per_row(partial(merge, path))
    return results


def write_inputs(folder: Path, table: pa.Table) -> None:
    """Write the rows as a file of each format."""
    pq.write_table(table, folder / "parquet.parquet", row_group_size=20_000)
    pq.write_table(table, folder / "parquet, one row group.parquet")
    rows = table.to_pylist()
    content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    (folder / "jsonl.jsonl").write_bytes(content)
    (folder / "jsonl, gzip.jsonl.gz").write_bytes(gzip.compress(content))
    (folder / "jsonl, zstd.jsonl.zst").write_bytes(pa.compress(content, "zstd", asbytes=True))
    with (folder / "csv.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, table.column_names, quoting=csv.QUOTE_NONNUMERIC)
        writer.writeheader()
        writer.writerows(rows)


def per_row(step: Callable[[], None]) -> float:
    """Return the least microseconds of processor time per row of three tries."""
    times = []
    for _ in range(3):
        started = time.process_time()
        step()
        times.append(time.process_time() - started)
    return min(times) / ROWS * 1e6


def read(path: Path) -> None:
    """Read a file by the ranges of a plan."""
    storage, entry = Folder(path.parent), Folder(path.parent).entry(path.name)
    schema = read_schema(storage, [entry], "text")
    rows = [
        rows for start, end in split(storage, entry, "text") for rows in read_range(storage, entry, start, end, schema)
    ]
    assert sum(len(each.positions) for each in rows) == ROWS


def write(path: Path, table: pa.Table, vectors: NDArray[np.float32], layout: Layout) -> None:
    """Write rows and vectors as a shard's file."""
    schema = output_schema(table.schema, layout, DIMENSIONS)
    with ParquetWriter(path, schema, {}) as writer:
        for start, batch in zip(range(0, ROWS, BATCH), table.combine_chunks().to_batches(BATCH), strict=True):
            ids = [str(each) for each in range(start, start + batch.num_rows)]
            writer.write(output_batch(batch, vectors[start : start + batch.num_rows], ids, "id", schema))


def merge(path: Path) -> None:
    """Write the rows of a shard's file into a part."""
    with pq.ParquetFile(path) as file, ParquetWriter(path.with_suffix(".part"), file.schema_arrow, {}) as writer:
        for batch in file.iter_batches(BATCH):
            writer.write(batch)


if __name__ == "__main__":
    main()
