"""An output into an index of S3 Vectors: keys, vectors, and the other columns as metadata.

A key that exists gets its vector again, so a load may be repeated. After each part it notes which ones the index has,
and the next load of the same output into the same index goes on from there.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from handler.bulk.metadata import to_metadata
from handler.bulk.output import VECTOR
from handler.bulk.plan import Options
from handler.bulk.previous import MANIFEST
from handler.bulk.s3_vectors import MAX_CALL_VECTORS, MAX_KEY, Vector, VectorIndex, shorten
from handler.errors import BulkError
from handler.storage.uri import Storage, open_storage


@dataclass(slots=True)
class Loaded:
    """What a load did.

    vectors   number of vectors put
    earlier   number of vectors of the parts that an earlier load had put
    left_out  by column, the number of vectors whose metadata has not its value, because it is too long
    """

    vectors: int = 0
    earlier: int = 0
    left_out: Counter[str] = field(default_factory=Counter)


def load(source: str, target: str, report: Callable[[int, int], None]) -> Loaded:
    """Put all rows of an output into an index, which is created if it does not exist.

    Args:
        source: the output, a folder or s3://bucket/prefix.
        target: s3vectors://bucket/index.
        report: called with the number of rows done and of all rows, after each call of the API.

    Raises:
        BulkError: the output is not finished, or the index has other dimensions, or the API refuses.
    """
    named = re.fullmatch(r"s3vectors://([a-z0-9-]+)/([a-z0-9.-]+)", target)
    if not named:
        raise BulkError(f"TO is '{target}': write s3vectors://bucket/index")
    storage = open_storage(source)
    if not storage.exists(MANIFEST):
        raise BulkError(f"{storage.uri}: FROM names no finished output: there is no {MANIFEST}")
    manifest = json.loads(storage.read(MANIFEST))
    options, parts = Options(**manifest["options"]), {part["name"]: part["rows"] for part in manifest["parts"]}
    index = VectorIndex(named[1], named[2], options.dimensions, options.text)
    marker = f"_job/loads/{named[1]}/{named[2]}.json"
    before = json.loads(storage.read(marker)) if storage.exists(marker) else {}
    done = before["parts"] if before.get("created") == index.created else []
    loaded = Loaded(earlier=sum(parts[name] for name in done))
    first = 0
    for name, rows in parts.items():
        if name not in done:
            for count in index.put(_vectors(storage, name, first, options, index.unfiltered, loaded.left_out)):
                loaded.vectors += count
                report(loaded.earlier + loaded.vectors, sum(parts.values()))
            done = [*done, name]
            storage.write(marker, orjson.dumps({"created": index.created, "parts": done}))
        first += rows
    return loaded


def _vectors(  # noqa: PLR0913, PLR0917
    storage: Storage, name: str, first: int, options: Options, unfiltered: set[str], left_out: Counter[str]
) -> Iterator[Vector]:
    """Yield a part's rows. The key of a row without an ID is its number in the output, that of the first is `first`."""
    key, vector = ("id" if options.layout == "vectors" else options.id), VECTOR[options.layout]
    try:
        with storage.random_access(storage.entry(name)) as file:
            for batch in pq.ParquetFile(file).iter_batches(MAX_CALL_VECTORS):
                if options.layout == "vectors":
                    metadata = batch["metadata"].to_pylist()
                else:
                    metadata = to_metadata(batch.drop_columns([each for each in (key, vector) if each]))
                ids = batch[key].to_pylist() if key else range(first, first + batch.num_rows)
                rows = zip(ids, batch[vector].to_pylist(), metadata, strict=True)
                for number, (id_, values, text) in enumerate(rows, first):
                    yield Vector(
                        _key(str(number if id_ is None else id_), f"{storage.uri}/{name}"),
                        values,
                        shorten(orjson.loads(text), unfiltered, left_out),
                    )
                first += batch.num_rows
    except pa.ArrowException as error:
        raise BulkError(f"{storage.uri}/{name}: it is damaged, or no output of a job ({error})") from error


def _key(key: str, where: str) -> str:
    if not 0 < len(key) <= MAX_KEY:
        raise BulkError(f"{where}: S3 Vectors takes IDs of 1 to {MAX_KEY} characters, and not '{key[:40]}'")
    return key
