"""What a job computes: its options, the files it reads, and its shards, each a range of a file.

A plan depends on the data and the options alone, never on who executes it, where, or when. So two executors make the
same plan, a shard's output is a pure function of the plan and the shard's number, and its name says both.
"""

import base64
import hashlib
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from typing import Any, Literal

import pyarrow as pa

from handler.bulk.formats import holds_strings, read_schema, split
from handler.errors import BulkError
from handler.settings import LongInput
from handler.storage.entries import Entry, Storage

Layout = Literal["columns", "vectors"]
DEFAULT_ID = "id"  # need not exist, unlike a column of another name
SPLITTERS = 16  # files that are split at a time


@dataclass(frozen=True, slots=True)
class Options:
    """Everything besides the input that decides what is written.

    model       the ID of the model
    digest      the SHA-256 of its manifest, in hex
    dimensions  components of a vector
    text        the column to embed
    id          the column that identifies a row; empty, or `id` where there is none, for the row's file and position
    input_type  `query` or `passage` for models with prompts, as in a request; empty for none
    long_input  as the setting LONG_INPUT
    layout      all columns of the input and `embedding` (columns), or id, values and metadata (vectors)
    """

    model: str
    digest: str
    dimensions: int
    text: str = "text"
    id: str = DEFAULT_ID
    input_type: str = ""
    long_input: LongInput = "window"
    layout: Layout = "columns"


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file of the input; `name` is relative to the input, and `version` changes whenever its content does."""

    name: str
    size: int
    version: str


@dataclass(frozen=True, slots=True)
class Shard:
    """A range of a file: rows [start, end) of Parquet, or the rows that begin in these bytes of other formats."""

    number: int
    file: str
    start: int
    end: int


@dataclass(frozen=True)
class Plan:
    """A job's shards, and what all of them need; `schema` is the input's, as Arrow serializes it."""

    options: Options
    schema: bytes
    files: tuple[InputFile, ...]
    shards: tuple[Shard, ...]

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of what decides the output. Versions do not: a copied file has the same content."""
        return hashlib.sha256(canonical_json(_fields(self, versions=False))).hexdigest()

    def shard_name(self, number: int) -> str:
        """Return the name of a shard's files, without suffix."""
        return f"{self.digest[:8]}-{number:06d}-{self.options.digest[:8]}"

    def part_name(self, number: int) -> str:
        """Return the name of a part's files, without suffix."""
        return f"part-{self.digest[:8]}-{number:05d}-{self.options.digest[:8]}"

    @cached_property
    def input_schema(self) -> pa.Schema:
        """The schema of the input."""
        return pa.ipc.read_schema(pa.py_buffer(self.schema))

    def metadata(self, shards: Sequence[Shard]) -> dict[str, str]:
        """Return what a file that holds some shards says about them."""
        return {
            "model": self.options.model,
            "digest": self.options.digest,
            "dimensions": str(self.options.dimensions),
            "options": canonical_json(asdict(self.options)).decode(),
            "source": canonical_json(list(dict.fromkeys(shard.file for shard in shards))).decode(),
        }

    def to_json(self) -> bytes:
        """Return the plan as it is stored."""
        return canonical_json(_fields(self, versions=True))

    @classmethod
    def from_json(cls, content: bytes) -> "Plan":
        """Read a stored plan."""
        fields = json.loads(content)
        return cls(
            options=Options(**fields["options"]),
            schema=base64.b64decode(fields["schema"]),
            files=tuple(InputFile(**file) for file in fields["files"]),
            shards=tuple(Shard(**shard) for shard in fields["shards"]),
        )


def make_plan(source: Storage, entries: Sequence[Entry], options: Options) -> Plan:
    """Plan a job: read the schema of its files, and split them into shards.

    Raises:
        BulkError: a file cannot be read, or has another schema, or a column is missing.
    """
    schema = read_schema(source, entries, options.text)
    if options.id == DEFAULT_ID and DEFAULT_ID not in schema.names:
        options = replace(options, id="")
    if options.id and options.id not in schema.names:
        raise BulkError(f"{source.uri}: there is no column '{options.id}'; ID names one of: {', '.join(schema.names)}")
    if options.id and not (holds_strings(kind := schema.field(options.id).type) or pa.types.is_integer(kind)):
        raise BulkError(f"{source.uri}: the column '{options.id}' holds {kind}; ID names one of strings or integers")
    with ThreadPoolExecutor(SPLITTERS) as pool:
        ranges = list(pool.map(partial(split, source, text=options.text), entries))
    shards = [(entry.name, *each) for entry, own in zip(entries, ranges, strict=True) for each in own]
    return Plan(
        options=options,
        schema=schema.serialize().to_pybytes(),
        files=tuple(InputFile(entry.name, entry.size, entry.version) for entry in entries),
        shards=tuple(Shard(number, *shard) for number, shard in enumerate(shards)),
    )


def canonical_json(content: object) -> bytes:
    """Return JSON with sorted keys and no white space: equal contents have equal bytes."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _fields(plan: Plan, *, versions: bool) -> dict[str, Any]:
    files = [asdict(file) for file in plan.files]
    return {
        "options": asdict(plan.options),
        "schema": base64.b64encode(plan.schema).decode(),
        "files": files if versions else [{"name": file.name, "size": file.size} for file in plan.files],
        "shards": [asdict(shard) for shard in plan.shards],
    }
