"""Receipts: what is done. A shard or a part is done when its receipt exists, which is written last.

Work that has a receipt is skipped. Work that has none may be done again: its files have the same bytes.
"""

import hashlib
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from handler.bulk.plan import Plan, canonical_json
from handler.storage.entries import Storage

SHARDS, PARTS = "_job/shards/", "_job/parts/"
READERS = 32  # a receipt takes S3 15 ms, and a job may have 50,000


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a shard or a part took and gave.

    rows     rows of the input
    rejects  those that were not embedded
    reused   those whose vector an earlier output had
    tokens   tokens that the model read
    size     bytes of the Parquet file
    sha256   its SHA-256, in hex
    seconds  how long it took
    """

    rows: int
    rejects: int
    reused: int
    tokens: int
    size: int
    sha256: str
    seconds: float

    @property
    def written(self) -> int:
        """The number of rows in the Parquet file."""
        return self.rows - self.rejects

    def to_json(self) -> bytes:
        """Return the receipt as it is stored."""
        return canonical_json(asdict(self))

    @classmethod
    def from_json(cls, content: bytes) -> "Receipt":
        """Read a stored receipt."""
        return cls(**json.loads(content))


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def total(receipts: Sequence[Receipt], path: Path) -> Receipt:
    """Return the sum of receipts, for a file that holds what theirs held."""
    return Receipt(
        rows=sum(receipt.rows for receipt in receipts),
        rejects=sum(receipt.rejects for receipt in receipts),
        reused=sum(receipt.reused for receipt in receipts),
        tokens=sum(receipt.tokens for receipt in receipts),
        size=path.stat().st_size,
        sha256=file_sha256(path),
        seconds=sum(receipt.seconds for receipt in receipts),
    )


def shard_receipts(target: Storage, plan: Plan) -> dict[int, Receipt]:
    """Return the receipts of the plan's shards that are done, by number."""
    names = {f"{SHARDS}{plan.shard_name(shard.number)}.json": shard.number for shard in plan.shards}
    return _read(target, SHARDS, names)


def part_receipts(target: Storage, plan: Plan, parts: int) -> dict[int, Receipt]:
    """Return the receipts of the plan's parts that are done, by number, of `parts` parts."""
    return _read(target, PARTS, {f"{PARTS}{plan.part_name(number)}.json": number for number in range(parts)})


def _read(target: Storage, folder: str, names: dict[str, int]) -> dict[int, Receipt]:
    """Find the receipts by one listing, and read many at a time."""
    found = [entry.name for entry in target.list(folder) if entry.name in names]
    with ThreadPoolExecutor(READERS) as pool:
        return {
            names[name]: Receipt.from_json(content)
            for name, content in zip(found, pool.map(target.read, found), strict=True)
        }
