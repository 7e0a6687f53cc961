"""What is written: rows with their vectors in one of two layouts, as Parquet whose bytes depend on the rows alone."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from handler.bulk.metadata import to_metadata
from handler.bulk.plan import Layout
from handler.bulk.rows import size_of
from handler.errors import BulkError
from handler.storage.folder import from_os_error

VECTOR = {"columns": "embedding", "vectors": "values"}  # the column of vectors in each layout
GROUP_ROWS, GROUP_BYTES = 8192, 64 << 20  # of a row group
BLOCK_ROWS = 64  # after so many, the size of the row group is checked


def output_schema(schema: pa.Schema, layout: Layout, dimensions: int) -> pa.Schema:
    """Return the schema of what is written for an input.

    `columns` are those of the input and `embedding`, a fixed-size list of float32. `vectors` are what vector stores
    import: `id` (string), `values` (list of float32) and `metadata` (JSON text), as in
    docs.pinecone.io/guides/index-data/import-data.

    Raises:
        BulkError: the input already has a column `embedding`.
    """
    if layout == "vectors":
        return pa.schema([("id", pa.string()), ("values", pa.list_(pa.float32())), ("metadata", pa.string())])
    if "embedding" in schema.names:
        raise BulkError("the input has a column 'embedding' already; rename or drop it, or write LAYOUT=vectors")
    return schema.append(pa.field("embedding", pa.list_(pa.float32(), dimensions)))


def output_batch(
    batch: pa.RecordBatch, vectors: npt.NDArray[np.float32], ids: Sequence[str], id_column: str, schema: pa.Schema
) -> pa.RecordBatch:
    """Return rows of the input with their vectors, in the layout of `schema`.

    Args:
        batch: n rows of the input.
        vectors: their vectors, (n, dimensions).
        ids: their IDs, which only the layout `vectors` has; `id_column` is not repeated in its metadata.
        id_column: the name of the column that the IDs are from, or an empty string.
        schema: of the output.
    """
    flat = pa.array(vectors.reshape(-1), pa.float32())
    if "embedding" in schema.names:
        return pa.record_batch([*batch.columns, pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])], schema)
    offsets = pa.array(np.arange(0, vectors.size + 1, vectors.shape[1], dtype=np.int32))
    others = batch.select([name for name in batch.schema.names if name != id_column])
    metadata = pa.array(to_metadata(others), pa.string())
    columns = [pa.array(ids, pa.string()), pa.ListArray.from_arrays(offsets, flat), metadata]
    return pa.record_batch(columns, schema)


class ParquetWriter:
    """Writes a file of row groups of GROUP_ROWS rows, or of fewer large ones; its bytes depend on the rows alone.

    Raises:
        BulkError: the disk is full, or refuses the file.
    """

    def __init__(self, path: Path, schema: pa.Schema, metadata: Mapping[str, str]) -> None:
        self.rows = 0
        self._path, self._schema = path, schema.with_metadata(metadata)
        self._group: list[pa.RecordBatch] = []  # of BLOCK_ROWS rows
        self._size = 0  # of the group, in bytes
        self._block: list[pa.RecordBatch] = []  # however the rows came

    def __enter__(self) -> Self:
        """Open the file."""
        plain = [column for column in self._schema.names if column not in VECTOR.values()]
        with self._errors():
            self._writer = pq.ParquetWriter(
                self._path,
                self._schema,
                compression="zstd",
                compression_level=1,
                use_dictionary=plain,
                write_statistics=plain,
            )
        return self

    def write(self, batch: pa.RecordBatch) -> None:
        """Append a batch."""
        while batch.num_rows:
            piece = batch.slice(0, BLOCK_ROWS - sum(each.num_rows for each in self._block))
            self._block.append(piece)
            batch = batch.slice(piece.num_rows)
            if sum(each.num_rows for each in self._block) == BLOCK_ROWS:
                self._end_block()

    def _end_block(self) -> None:
        block = pa.concat_batches(self._block)
        self._block = []
        self._group.append(block)
        self._size += size_of(block)
        if len(self._group) * BLOCK_ROWS == GROUP_ROWS or self._size >= GROUP_BYTES:
            self._end_group()

    def _end_group(self) -> None:
        table = pa.Table.from_batches(self._group, self._schema).combine_chunks()
        self._group, self._size = [], 0
        self.rows += table.num_rows
        with self._errors():
            self._writer.write_table(table, row_group_size=GROUP_ROWS)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write the last rows and the footer, unless there was an error."""
        if kind:
            with suppress(OSError):
                self._writer.close()
            return
        if self._block:
            self._end_block()
        if self._group:
            self._end_group()
        with self._errors():
            self._writer.close()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise from_os_error(str(self._path), error) from error
