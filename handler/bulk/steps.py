"""The steps of a job on AWS, in the order in which the state machine takes them. Each skips what is done.

Lists of what is not done go to the output's folder, where the state machine reads them: a state has a limit of 256 KiB.
"""

import json
from dataclasses import asdict, dataclass
from functools import lru_cache

from handler.bulk.jobs import PLAN, load_embedder, missing, open_job, open_plan
from handler.bulk.merge import Group, Manifest, finish, group, write_part
from handler.bulk.plan import Options, Plan
from handler.bulk.previous import Previous, open_previous
from handler.bulk.prices import Usage
from handler.bulk.receipts import Receipt, part_receipts, shard_receipts
from handler.bulk.shard import Work, embed_shard
from handler.embedding.embedder import Embedder
from handler.errors import BulkError
from handler.settings import MB_PER_VCPU, Settings
from handler.storage.entries import Storage
from handler.storage.uri import open_input, open_storage

SHARD_LIST, PART_LIST, RESULTS = "_job/shards.json", "_job/groups.json", "_job/results"
# A shard that fails does not stop the others, unless so many fail that the cause is common: then they only cost money.
TOLERATED_SHARDS, TOLERATED_PERCENT = 20, 10
MAX_NAMED = 5


@dataclass(frozen=True, slots=True)
class Planned:
    """How many shards are not done, where their input is, and how many percent may fail without stopping the others."""

    shards: int
    source: str
    tolerated: float


def plan_shards(target: Storage, settings: Settings) -> Planned:
    """Make the job's plan, unless it was made before, and list the shards that are not done.

    Raises:
        BulkError: the input cannot be read or has changed, or the settings do not have the job's model.
    """
    job = open_job(target)
    embedder(job.options, settings)  # a wrong model fails here, and not in every shard
    source, entries = open_input(job.source)
    shards = missing(target, open_plan(source, entries, target, job.options))
    target.write(SHARD_LIST, json.dumps([asdict(shard) for shard in shards]).encode())
    return Planned(len(shards), source.uri, tolerated_percent(len(shards)))


def tolerated_percent(shards: int) -> float:
    """Return how many percent of the shards may fail."""
    return max(TOLERATED_PERCENT, 100 * TOLERATED_SHARDS / max(TOLERATED_SHARDS, shards))


def shard(target: Storage, settings: Settings, source: str, number: int) -> Receipt:
    """Embed a shard.

    Raises:
        BulkError: its input cannot be read, or its output cannot be written.
    """
    plan, job = open_stored_plan(target), open_job(target)
    previous = earlier_vectors(job.previous, plan.options) if job.previous else None
    work = Work(open_storage(source), target, plan, embedder(plan.options, settings), previous)
    return embed_shard(work, plan.shards[number])


def group_shards(target: Storage) -> int:
    """Group the shards to parts, and list the parts that are not done; return how many these are.

    Raises:
        BulkError: shards are not done.
    """
    plan = open_stored_plan(target)
    groups = _groups(target, plan, shard_receipts(target, plan))
    done = part_receipts(target, plan, len(groups))
    parts = [part for part in groups if part.number not in done]
    target.write(PART_LIST, json.dumps([asdict(part) for part in parts]).encode())
    return len(parts)


def part(target: Storage, shards: Group) -> Receipt:
    """Merge shards to a part.

    Raises:
        BulkError: a shard cannot be read, or the part cannot be written.
    """
    plan = open_stored_plan(target)
    try:
        return write_part(target, plan, shards)
    except BulkError:
        # An EXPRESS execution may run twice at once. The first to end writes the receipt, then deletes the shards.
        if done := part_receipts(target, plan, shards.number + 1).get(shards.number):
            return done
        raise


def finish_job(target: Storage, memory_mb: int) -> Manifest:
    """Check that all is done and write the manifest.

    Raises:
        BulkError: something is missing, or more rows were rejected than the job allows.
    """
    plan = open_stored_plan(target)
    receipts = shard_receipts(target, plan)
    parts = len(_groups(target, plan, receipts))
    seconds = sum(receipt.seconds for receipt in receipts.values()) * memory_mb / MB_PER_VCPU
    dollars = Usage(len(receipts), parts, seconds).dollars()
    cost: dict[str, str | float] = {"executor": "aws", "vcpu_seconds": seconds, "dollars": dollars}
    return finish(target, plan, parts, open_job(target).max_rejects, cost)


def _groups(target: Storage, plan: Plan, receipts: dict[int, Receipt]) -> list[Group]:
    failed = [shard.number for shard in plan.shards if shard.number not in receipts]
    if failed:
        named = ", ".join(map(str, failed[:MAX_NAMED])) + (", ..." if len(failed) > MAX_NAMED else "")
        raise BulkError(
            f"{target.uri}: {len(failed)} of {len(plan.shards)} shards have failed ({named}): see {RESULTS}/ or "
            "make bulk-status; remove the cause, then make bulk-resume"
        )
    return group([receipts[shard.number] for shard in plan.shards], len(plan.shards))


def open_stored_plan(target: Storage) -> Plan:
    """Return the job's plan, which an environment that does many shards reads once."""
    return _plan(target.uri, target.entry(PLAN).version)


@lru_cache(maxsize=1)
def _plan(uri: str, version: str) -> Plan:  # noqa: ARG001 - part of the key
    return Plan.from_json(open_storage(uri).read(PLAN))


@lru_cache(maxsize=1)
def embedder(options: Options, settings: Settings) -> Embedder:
    """Return the job's model, which an environment loads once."""
    return load_embedder(options, settings)


@lru_cache(maxsize=1)
def earlier_vectors(uri: str, options: Options) -> Previous:
    """Return the vectors of an earlier output, which an environment reads once."""
    return open_previous(uri, options)
