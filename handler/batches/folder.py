"""A batch's folder: its files, and what they say."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

from handler.batches.records import BatchEnd, BatchOutcome, BatchPlan, BatchRecord, Moment
from handler.storage.entries import Storage

BATCH, INPUT, PLAN, CANCEL, OUTCOME, END = (
    "batch.json",
    "input",
    "plan.json",
    "cancel.json",
    "outcome.json",
    "end.json",
)
SHARDS = "shards/"
RECEIPT = re.compile(r"(?:.*/)?(\d+)\.(\d+)\.(\d+)\.(\d+)")
BATCH_FILE = re.compile(r"owners/([^/]+)/batches/([^/]+)/(.+)")
Fact = TypeVar("Fact", BatchRecord, BatchPlan, Moment, BatchOutcome, BatchEnd)


@dataclass(frozen=True, slots=True)
class ShardReceipt:
    """What came of a shard's requests; it is stored as the name of an empty file."""

    number: int
    completed: int
    failed: int
    tokens: int

    @property
    def name(self) -> str:
        """The file's name in the batch's folder."""
        return f"{SHARDS}{self.number}.{self.completed}.{self.failed}.{self.tokens}"


def batch_path(owner: str, batch_id: str) -> str:
    """Return the name of a batch's folder in the storage, without a slash at its end."""
    return f"owners/{owner}/batches/{batch_id}"


def receipts(names: Iterable[str]) -> dict[int, ShardReceipt]:
    """Return the receipts among the names of files, by the shard's number."""
    found = (RECEIPT.fullmatch(name) for name in names)
    return {int(each[1]): ShardReceipt(*map(int, each.groups())) for each in found if each}


@dataclass(frozen=True, slots=True)
class BatchFolder:
    """A batch's files in what stores all of them."""

    storage: Storage
    owner: str
    id: str

    def path(self, name: str) -> str:
        """Return a file's name in the storage."""
        return f"{batch_path(self.owner, self.id)}/{name}"

    def find(self, kind: type[Fact], name: str) -> Fact | None:
        """Return a fact, or None if it is not known yet."""
        path = self.path(name)
        return kind.from_json(self.storage.read(path)) if self.storage.exists(path) else None

    def record(self) -> BatchRecord:
        """Return the batch as it was created.

        Raises:
            BulkError: there is none.
        """
        return BatchRecord.from_json(self.storage.read(self.path(BATCH)))

    def plan(self) -> BatchPlan | None:
        """Return the plan, once the input is known to be valid."""
        return self.find(BatchPlan, PLAN)

    def cancelled(self) -> Moment | None:
        """Return when the batch was cancelled, if it was."""
        return self.find(Moment, CANCEL)

    def outcome(self) -> BatchOutcome | None:
        """Return how the batch ends, once that is decided."""
        return self.find(BatchOutcome, OUTCOME)

    def end(self) -> BatchEnd | None:
        """Return the end, if the batch has ended."""
        return self.find(BatchEnd, END)

    def receipts(self) -> dict[int, ShardReceipt]:
        """Return the receipts of the shards that are done, by number."""
        return receipts(entry.name for entry in self.storage.list(self.path(SHARDS)))


def every_batch(storage: Storage) -> dict[BatchFolder, set[str]]:
    """Return all batches in the order of their creation, each with the names of its files."""
    found: dict[BatchFolder, set[str]] = {}
    for match in filter(None, (BATCH_FILE.fullmatch(entry.name) for entry in storage.list("owners/"))):
        owner, id_, name = match.groups()
        found.setdefault(BatchFolder(storage, owner, id_), set()).add(name)
    return dict(sorted(found.items(), key=lambda each: each[0].id))


def waiting(storage: Storage) -> list[BatchFolder]:
    """Return the batches that have not ended, in the order of their creation."""
    return [folder for folder, names in every_batch(storage).items() if BATCH in names and END not in names]
