"""Small outputs of jobs, whose vectors are a function of the texts."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from handler.bulk.output import VECTOR
from handler.bulk.plan import Options

DIMENSIONS = 4
OPTIONS = Options("tiny", "d" * 64, DIMENSIONS, long_input="error")


def sha256(text: str) -> bytes:
    """Return the digest of a text."""
    return hashlib.sha256(text.encode()).digest()


def vectors_of(texts: Sequence[str]) -> np.ndarray:
    """Return a vector for each text, float32 (texts, DIMENSIONS)."""
    return np.array([np.frombuffer(sha256(text)[: 4 * DIMENSIONS], np.uint32) for text in texts]).astype(np.float32)


def write_output(folder: Path, parts: Sequence[Sequence[str]], options: Options = OPTIONS, group: int = 3) -> str:
    """Write what a job leaves: parts in row groups of `group` rows, their texts' digests, and the manifest."""
    tables = []
    for texts in parts:
        ids = [f"id of {text}" for text in texts]
        if options.layout == "columns":
            columns = {"id": ids, "text": texts, "stars": range(len(texts)), "note": [None] * len(texts)}
            kind = pa.list_(pa.float32(), DIMENSIONS)
        else:
            columns = {"id": ids, "metadata": [json.dumps({"text": text}) for text in texts]}
            kind = pa.list_(pa.float32())
        tables.append(pa.table({**columns, VECTOR[options.layout]: pa.array(list(vectors_of(texts)), kind)}))
    return write_tables(folder, tables, parts, options, group)


def write_tables(
    folder: Path, tables: Sequence[pa.Table], parts: Sequence[Sequence[str]], options: Options, group: int = 3
) -> str:
    """Write tables as the parts of an output."""
    (folder / "_texts").mkdir(parents=True)
    listed = []
    for number, (table, texts) in enumerate(zip(tables, parts, strict=True)):
        name = f"part-{number:05d}"
        pq.write_table(table, folder / f"{name}.parquet", row_group_size=group)
        (folder / f"_texts/{name}.sha256").write_bytes(b"".join(map(sha256, texts)))
        listed.append({"name": f"{name}.parquet", "rows": len(texts)})
    (folder / "_manifest.json").write_text(json.dumps({"options": asdict(options), "parts": listed}))
    return str(folder)
