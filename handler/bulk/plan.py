"""What a job computes: its options, the files it reads, and its shards, each a range of a file.

A plan depends on the data and the options alone, never on who executes it, where, or when. So two executors make the
same plan, a shard's output is a pure function of the plan and the shard's number, and its name says both.
"""

import base64
import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal

from handler.settings import LongInput

Layout = Literal["columns", "vectors"]


@dataclass(frozen=True, slots=True)
class Options:
    """Everything besides the input that decides what is written.

    model       the ID of the model
    digest      the SHA-256 of its manifest, in hex
    dimensions  components of a vector
    text        the column to embed
    id          the column that identifies a row; empty for the row's file and position
    input_type  `query` or `passage` for models with prompts, as in a request; empty for none
    long_input  as the setting LONG_INPUT
    layout      all columns of the input and `embedding` (columns), or id, values and metadata (vectors)
    """

    model: str
    digest: str
    dimensions: int
    text: str
    id: str
    input_type: str
    long_input: LongInput
    layout: Layout


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
