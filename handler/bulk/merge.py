"""Shards to parts of 128 MB and more, and the manifest that says that nothing was lost."""

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from handler.bulk.formats_parquet import open_parquet
from handler.bulk.output import GROUP_ROWS, ParquetWriter
from handler.bulk.plan import Options, Plan
from handler.bulk.previous import MANIFEST
from handler.bulk.receipts import PARTS, SHARDS, Receipt, part_receipts, total
from handler.errors import BulkError
from handler.storage.entries import Storage

PART_BYTES = 128_000_000
TEXTS = "_texts/"


@dataclass(frozen=True, slots=True)
class Group:
    """The shards of a part: from `first` to before `end`."""

    number: int
    first: int
    end: int


@dataclass(frozen=True, slots=True)
class Part:
    """A file of the output; `size` is in bytes."""

    name: str
    rows: int
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a job read and wrote; all but `cost` is the same for both executors.

    rows_in  rows_out + rejects, which was checked
    reused   vectors that an earlier output had
    tokens   tokens that the model read for the others
    plan     the plan's digest
    files    names of the input's files
    """

    rows_in: int
    rows_out: int
    rejects: int
    reused: int
    tokens: int
    plan: str
    options: Options
    files: tuple[str, ...]
    parts: tuple[Part, ...]
    cost: Mapping[str, str | float]

    def to_json(self) -> bytes:
        """Return the manifest for people and programs."""
        return (json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n").encode()

    @classmethod
    def from_json(cls, content: bytes) -> "Manifest":
        """Read a stored manifest."""
        stored = json.loads(content)
        parts = tuple(Part(**part) for part in stored["parts"])
        return cls(
            **{**stored, "options": Options(**stored["options"]), "files": tuple(stored["files"]), "parts": parts}
        )


def group(receipts: Sequence[Receipt], shards: int) -> list[Group]:
    """Return the parts whose shards are known from the receipts of the first shards, of `shards` in all.

    A part is complete with PART_BYTES, so parts can be written while later shards are still missing.
    """
    groups: list[Group] = []
    first = size = 0
    for number, receipt in enumerate(receipts):
        size += receipt.size
        if size >= PART_BYTES or number == shards - 1:
            groups.append(Group(len(groups), first, number + 1))
            first, size = number + 1, 0
    return groups


def write_part(target: Storage, plan: Plan, part: Group) -> Receipt:
    """Merge shards to a part, unless it is done, and delete their files; return the part's receipt.

    Raises:
        BulkError: a shard's file is missing or damaged, or the part cannot be written.
    """
    receipt = f"{PARTS}{plan.part_name(part.number)}.json"
    if target.exists(receipt):
        done = Receipt.from_json(target.read(receipt))
    else:
        done = _merge(target, plan, part)
        target.write(receipt, done.to_json())
    target.delete([f"{shard}{suffix}" for shard in _shards(plan, part) for suffix in (".parquet", ".sha256")])
    return done


def _shards(plan: Plan, part: Group) -> list[str]:
    return [f"{SHARDS}{plan.shard_name(number)}" for number in range(part.first, part.end)]


def _merge(target: Storage, plan: Plan, part: Group) -> Receipt:
    name, shards = plan.part_name(part.number), _shards(plan, part)
    receipts = [Receipt.from_json(target.read(f"{shard}.json")) for shard in shards]
    texts = b"".join(target.read(f"{shard}.sha256") for shard in shards)
    with target.temporary() as path:
        rows = _copy(target, plan, part, path)
        done = total(receipts, path)
        if not rows == done.written == len(texts) // hashlib.sha256().digest_size:
            raise BulkError(
                f"{target.uri}/{name}.parquet: its shards have {rows:,} rows, and their receipts say "
                f"{done.written:,}; choose another OUT"
            )
        target.write(f"{TEXTS}{name}.sha256", texts)
        target.publish(f"{name}.parquet", path)
    return done


def _copy(target: Storage, plan: Plan, part: Group, path: Path) -> int:
    """Write the rows of a part's shards to a file, and return their number."""
    metadata, columns = plan.metadata(plan.shards[part.first : part.end]), len(plan.input_schema) + 1
    with ExitStack() as stack:
        writer = None
        for shard in _shards(plan, part):
            with open_parquet(target, target.entry(f"{shard}.parquet"), columns) as parquet:
                # the schema as it is read: Parquet renames the items of lists
                writer = writer or stack.enter_context(ParquetWriter(path, parquet.schema_arrow, metadata))
                for index in range(parquet.num_row_groups):  # one at a time: its rows may be large
                    for batch in parquet.iter_batches(GROUP_ROWS, [index], use_threads=False):
                        writer.write(batch)
    return writer.rows if writer else 0


def finish(target: Storage, plan: Plan, parts: int, max_rejects: str, cost: Mapping[str, str | float]) -> Manifest:
    """Check the parts and write the manifest.

    Raises:
        BulkError: a part is missing, or more rows were rejected than the job allows.
    """
    receipts = part_receipts(target, plan, parts)
    missing = [number for number in range(parts) if number not in receipts]
    if missing:
        raise BulkError(f"{target.uri}: {len(missing)} of {parts} parts are missing; run the job again")
    done = [receipts[number] for number in range(parts)]
    rows, rejects = sum(each.rows for each in done), sum(each.rejects for each in done)
    check_rejects(target, rejects, rows, max_rejects)
    manifest = Manifest(
        rows_in=rows,
        rows_out=rows - rejects,
        rejects=rejects,
        reused=sum(each.reused for each in done),
        tokens=sum(each.tokens for each in done),
        plan=plan.digest,
        options=plan.options,
        files=tuple(file.name for file in plan.files),
        parts=tuple(
            Part(f"{plan.part_name(number)}.parquet", each.written, each.size, each.sha256)
            for number, each in enumerate(done)
        ),
        cost=cost,
    )
    target.write(MANIFEST, manifest.to_json())
    return manifest


def check_rejects(target: Storage, rejects: int, rows: float, max_rejects: str) -> None:
    """Check the number of rejected rows against a number, such as `100`, or a share, such as `1%`, of all rows.

    Raises:
        BulkError: there are more.
    """
    if rejects > allowed_rejects(max_rejects, rows):
        raise BulkError(
            f"{target.uri}: {rejects:,} rows were rejected, and MAX_REJECTS={max_rejects} allows fewer: see _rejects/; "
            "to go on, run the job again with a higher MAX_REJECTS"
        )


def allowed_rejects(max_rejects: str, rows: float) -> float:
    """Return how many of `rows` rows may be rejected; an empty text allows all.

    Raises:
        BulkError: the text is neither a number nor a percentage.
    """
    if not max_rejects:
        return math.inf
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(%?)", max_rejects)
    if not found:
        raise BulkError(f"MAX_REJECTS is '{max_rejects}': write a number such as 100, or a percentage such as 1%")
    return rows * float(found[1]) / 100 if found[2] else float(found[1])
