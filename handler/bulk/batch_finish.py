"""The end of a batch: decided once, then written as both files, which depend on the plan and the decision alone."""

from collections.abc import Iterator, Mapping

from handler.batches import files
from handler.batches.folder import END, INPUT, OUTCOME, SHARDS, BatchFolder, ShardReceipt
from handler.batches.records import BatchEnd, BatchOutcome, BatchPlan, BatchRecord, FileRecord, LineError
from handler.bulk.batch_lines import not_run
from handler.bulk.batch_requests import read_requests
from handler.errors import BulkError
from handler.storage.entries import blocks

NOT_VALIDATED = LineError("internal_error", "The input could not be validated; create the batch again.")


def finish(folder: BatchFolder, now: int) -> BatchEnd:
    """End a batch: the requests of shards that are not done become errors. Return the end.

    It has been cancelled, or all its shards are done, or its window is over, or else what runs it has given it up.

    Raises:
        BulkError: the storage refuses; the same call goes on later.
    """
    end = folder.end() or _finish(folder, now)
    storage = folder.storage
    storage.delete([folder.path(INPUT), *(entry.name for entry in storage.list(folder.path(SHARDS)))])
    return end


def _finish(folder: BatchFolder, now: int) -> BatchEnd:
    record, plan = folder.record(), folder.plan()
    if not plan:
        ending = BatchEnd(now, "cancelled") if folder.cancelled() else BatchEnd(now, "failed", errors=(NOT_VALIDATED,))
        return _end(folder, ending)
    outcome = folder.outcome() or _decide(folder, record, plan, now)
    try:
        return _end(folder, _write(folder, record, plan, outcome, now))
    except BulkError:
        if end := folder.end():  # another run has ended it, and deleted what this one was reading
            return end
        raise


def _decide(folder: BatchFolder, record: BatchRecord, plan: BatchPlan, now: int) -> BatchOutcome:
    """Decide how a batch ends, unless another run has; return what was decided."""
    shards = tuple(sorted(folder.receipts()))
    if folder.cancelled():
        outcome = BatchOutcome(now, "cancelled", shards, "batch_cancelled")
    elif len(shards) == len(plan.shards):
        outcome = BatchOutcome(now, "completed", shards)
    elif now >= record.expires_at:
        outcome = BatchOutcome(now, "expired", shards, "batch_expired")
    else:
        outcome = BatchOutcome(now, "completed", shards, "internal_error")
    if folder.storage.create(folder.path(OUTCOME), outcome.to_json()):
        return outcome
    return BatchOutcome.from_json(folder.storage.read(folder.path(OUTCOME)))


def _end(folder: BatchFolder, end: BatchEnd) -> BatchEnd:
    if folder.storage.create(folder.path(END), end.to_json()):
        return end
    return BatchEnd.from_json(folder.storage.read(folder.path(END)))


def _write(folder: BatchFolder, record: BatchRecord, plan: BatchPlan, outcome: BatchOutcome, now: int) -> BatchEnd:
    """Write both files, unless one would be empty; return the end that says so."""
    done = folder.receipts()
    if not set(outcome.shards) <= set(done):
        raise BulkError(f"{folder.storage.uri}/{folder.path(SHARDS)}: receipts of shards that are done are missing")
    counted = {number: done[number] for number in outcome.shards}
    completed = sum(receipt.completed for receipt in counted.values())
    failed = plan.requests - completed

    def write(file_id: str, kind: str, lines: Iterator[bytes]) -> str:
        file = FileRecord(
            id=file_id,
            size=0,
            created_at=outcome.at,
            expires_at=outcome.at + record.output_expires_after,
            filename=f"{record.id}_{kind}.jsonl",
            purpose="batch_output",
        )
        return files.add(folder.storage, record.owner, file, lines).id

    return BatchEnd(
        at=now,
        ending=outcome.ending,
        completed=completed,
        failed=failed,
        tokens=sum(receipt.tokens for receipt in counted.values()),
        output_file_id=write(plan.output_file_id, "output", _output(folder, counted)) if completed else None,
        error_file_id=write(plan.error_file_id, "error", _errors(folder, plan, outcome, counted)) if failed else None,
    )


def _output(folder: BatchFolder, counted: Mapping[int, ShardReceipt]) -> Iterator[bytes]:
    for number in sorted(counted):
        if counted[number].completed:
            yield from _content(folder, f"{SHARDS}{number}.output")


def _errors(
    folder: BatchFolder, plan: BatchPlan, outcome: BatchOutcome, counted: Mapping[int, ShardReceipt]
) -> Iterator[bytes]:
    for shard in plan.shards:
        if shard.number not in counted:
            for request in read_requests(folder, shard):
                yield not_run(folder.id, request, outcome.code or "internal_error")
        elif counted[shard.number].failed:
            yield from _content(folder, f"{SHARDS}{shard.number}.errors")


def _content(folder: BatchFolder, name: str) -> Iterator[bytes]:
    storage = folder.storage
    with storage.stream(storage.entry(folder.path(name))) as file:
        yield from blocks(file)
