"""Batches of an owner: creating, finding, listing and cancelling them, and how far each is."""

import hashlib
from dataclasses import dataclass
from functools import partial
from typing import Literal

from handler.batches.folder import BATCH, CANCEL, END, OUTCOME, PLAN, Fact, batch_path, receipts
from handler.batches.ids import check_after, creation_time, is_id, new_id, only_ids
from handler.batches.page import Page, read_page
from handler.batches.records import (
    WINDOW_SECONDS,
    BatchEnd,
    BatchOutcome,
    BatchPlan,
    BatchRecord,
    Ending,
    IdempotencyKey,
    LineError,
    Moment,
)
from handler.contract.batches import CreateBatch, ListBatches, life_seconds
from handler.errors import ConflictError, NotFoundError, RateLimitError, RequestError
from handler.storage.entries import Storage, read_if_exists

Status = Literal["validating", "in_progress", "finalizing", "cancelling"] | Ending
# OpenAI's: 2,000 batches an hour. All are listed to find one's place in a page, so they are limited as well.
MAX_BATCHES_PER_HOUR, MAX_BATCHES = 2_000, 10_000


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch and how far it is; a time is None until it has come.

    completed, failed  the requests that are done so far, or, at the end, those in the output and in the error file
    tokens             that the model has read, at the end
    """

    record: BatchRecord
    status: Status
    model: str | None = None
    requests: int = 0
    completed: int = 0
    failed: int = 0
    tokens: int = 0
    in_progress_at: int | None = None
    finalizing_at: int | None = None
    cancelling_at: int | None = None
    ended_at: int | None = None
    output_file_id: str | None = None
    error_file_id: str | None = None
    errors: tuple[LineError, ...] = ()


def uri(storage: Storage, owner: str, batch_id: str) -> str:
    """Return the path or URI of a batch's folder."""
    return f"{storage.uri}/{batch_path(owner, batch_id)}"


def create(  # noqa: PLR0913 - one for each fact of a request
    storage: Storage, owner: str, request: CreateBatch, now: int, key: str | None = None, *, caller: str | None = None
) -> Batch:
    """Create a batch, or return the one that the same request has created with the same idempotency key.

    Raises:
        RequestError: the owner has too many batches.
        ConflictError: another request has used the key.
        RateLimitError: the owner has created too many batches.
    """
    batch_id = new_id("batch_", now)
    if key is not None and (first := _claim(storage, owner, key, request, batch_id)) != batch_id:
        if found := _find(storage, owner, first):
            return found
        batch_id = first  # its request is not that far, or has failed
    _check_rate(storage, owner, now)
    record = BatchRecord(
        id=batch_id,
        owner=owner,
        created_at=creation_time(batch_id),
        expires_at=creation_time(batch_id) + WINDOW_SECONDS,
        endpoint=request.endpoint,
        completion_window=request.completion_window,
        input_file_id=request.input_file_id,
        metadata=request.metadata,
        output_expires_after=life_seconds(request.output_expires_after),
        caller=caller,
    )
    if storage.create(f"{batch_path(owner, batch_id)}/{BATCH}", record.to_json()):
        return Batch(record, "validating")
    return get(storage, owner, batch_id)


def withdraw(storage: Storage, owner: str, batch_id: str) -> None:
    """Undo the creation of a batch that does not run."""
    storage.delete([f"{batch_path(owner, batch_id)}/{BATCH}"])


def _claim(storage: Storage, owner: str, key: str, request: CreateBatch, batch_id: str) -> str:
    """Return the ID of the batch that a key is for, which is the given one if the key is new."""
    name = f"owners/{owner}/keys/{hashlib.sha256(key.encode(errors='replace')).hexdigest()}.json"
    digest = hashlib.sha256(request.model_dump_json().encode()).hexdigest()
    if storage.create(name, IdempotencyKey(batch_id, digest).to_json()):
        return batch_id
    first = IdempotencyKey.from_json(storage.read(name))
    if first.request != digest:
        raise ConflictError(
            "Another request has used this Idempotency-Key: send a new key with a new request.",
            code="idempotency_key_in_use",
        )
    return first.batch_id


def _check_rate(storage: Storage, owner: str, now: int) -> None:
    ids = only_ids("batch_", storage.folders(batch_path(owner, "")))
    if len(ids) >= MAX_BATCHES:
        raise RequestError(
            f"You have {MAX_BATCHES:,} batches, and no more are stored: each goes 32 days after its creation.",
            code="too_many_batches",
        )
    if sum(creation_time(each) > now - 3600 for each in ids) >= MAX_BATCHES_PER_HOUR:
        raise RateLimitError(f"You have created {MAX_BATCHES_PER_HOUR:,} batches in an hour; wait a while.", 60)


def get(storage: Storage, owner: str, batch_id: str) -> Batch:
    """Return an owner's batch.

    Raises:
        NotFoundError: the owner has no such batch.
    """
    found = _find(storage, owner, batch_id) if is_id("batch_", batch_id) else None
    if not found:
        raise NotFoundError(f"No batch found with id '{batch_id[:64]}'.", param="batch_id")
    return found


def page(storage: Storage, owner: str, request: ListBatches) -> Page[Batch]:
    """Return batches of an owner, the newest first, from the one after a given one on."""
    check_after("batch_", request.after)
    ids = only_ids("batch_", reversed(storage.folders(batch_path(owner, ""))))
    ids = [each for each in ids if each < (request.after or "batch_~")]
    return read_page(ids, partial(_find, storage, owner), request.limit)


def cancel(storage: Storage, owner: str, batch_id: str, now: int) -> Batch:
    """Cancel a batch, unless it has been; return it.

    Raises:
        NotFoundError: the owner has no such batch.
        ConflictError: it has ended, or is about to.
    """
    batch = get(storage, owner, batch_id)
    if batch.status in {"validating", "in_progress"}:
        storage.create(f"{batch_path(owner, batch_id)}/{CANCEL}", Moment(now).to_json())
        batch = get(storage, owner, batch_id)  # it may have ended meanwhile
    if batch.status not in {"cancelling", "cancelled"}:
        raise ConflictError(f"Cannot cancel a batch with status '{batch.status}'.")
    return batch


def _find(storage: Storage, owner: str, batch_id: str) -> Batch | None:
    """Read a batch from what is in its folder; None if there is none."""
    top = f"{batch_path(owner, batch_id)}/"
    names = {entry.name.removeprefix(top) for entry in storage.list(top)}

    def read(name: str, kind: type[Fact]) -> Fact | None:
        content = read_if_exists(storage, top + name) if name in names else None
        return kind.from_json(content) if content else None

    record, plan, cancelled = read(BATCH, BatchRecord), read(PLAN, BatchPlan), read(CANCEL, Moment)
    outcome, end = read(OUTCOME, BatchOutcome), read(END, BatchEnd)
    if not record:
        return None
    done = [each for each in receipts(names).values() if not outcome or each.number in outcome.shards]
    return Batch(
        record,
        _status(plan, cancelled, outcome, end),
        model=plan.model if plan else None,
        requests=plan.requests if plan else 0,
        completed=end.completed if end else sum(each.completed for each in done),
        failed=end.failed if end else sum(each.failed for each in done),
        tokens=end.tokens if end else 0,
        in_progress_at=plan.at if plan else None,
        finalizing_at=outcome.at if outcome else None,
        cancelling_at=cancelled.at if cancelled else None,
        ended_at=end.at if end else None,
        output_file_id=end.output_file_id if end else None,
        error_file_id=end.error_file_id if end else None,
        errors=end.errors if end else (),
    )


def _status(
    plan: BatchPlan | None, cancelled: Moment | None, outcome: BatchOutcome | None, end: BatchEnd | None
) -> Status:
    """Return the status that follows from what exists."""
    if end:
        return end.ending
    if outcome:
        return "cancelling" if outcome.ending == "cancelled" else "finalizing"
    if cancelled:
        return "cancelling"
    return "in_progress" if plan else "validating"
