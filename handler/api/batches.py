"""The endpoints of batches."""

from dataclasses import asdict
from functools import partial

from fastapi import APIRouter, Request, Response

from handler.api.stored import Work, begin, parse_body, parse_query, respond, respond_page, run_in_thread
from handler.batches import batches
from handler.batches.batches import Batch
from handler.batches.page import Page
from handler.contract import batch_objects
from handler.contract.batches import CreateBatch, ListBatches
from handler.errors import BulkError

router = APIRouter()
VALIDATION_SECONDS = 15 * 60  # at most: a function of Lambda does it


@router.post("/v1/batches")
async def create_batch(request: Request) -> Response:
    """Create a batch of embedding requests; a repeated request with the same Idempotency-Key finds the first one."""
    work, asked = begin(request), await parse_body(request, CreateBatch)
    key = request.headers.get("idempotency-key") or None
    return respond(_describe(await run_in_thread(request, partial(_create, work, asked, key))))


def _create(work: Work, asked: CreateBatch, key: str | None) -> Batch:
    batch = batches.create(work.storage, work.owner, asked, work.now, key, caller=work.caller)
    if batch.status == "validating":
        try:
            work.runner.start(batches.uri(work.storage, work.owner, batch.record.id))
        except BulkError:
            if key is None:  # the client will create another batch, and with a key start this one again
                batches.withdraw(work.storage, work.owner, batch.record.id)
            raise
    return batch


@router.get("/v1/batches")
async def list_batches(request: Request) -> Response:
    """List batches, the newest first, a page at a time."""
    work, asked = begin(request), parse_query(request, ListBatches)
    found = await run_in_thread(request, partial(_list, work, asked))
    return respond_page(batch_objects.BatchList, list(map(_describe, found.items)), has_more=found.has_more)


def _list(work: Work, asked: ListBatches) -> Page[Batch]:
    found = batches.page(work.storage, work.owner, asked)
    for batch in found.items:
        _run_if_stuck(work, batch)
    return found


@router.get("/v1/batches/{batch_id}")  # noqa: FAST003 - for a path parameter, FastAPI would import pydantic.v1
async def get_batch(request: Request) -> Response:
    """Describe a batch, and how far it is."""
    work, batch_id = begin(request), request.path_params["batch_id"]
    return respond(_describe(await run_in_thread(request, partial(_get, work, batch_id))))


def _get(work: Work, batch_id: str) -> Batch:
    batch = batches.get(work.storage, work.owner, batch_id)
    _run_if_stuck(work, batch)
    return batch


def _run_if_stuck(work: Work, batch: Batch) -> None:
    """Run a batch that no run seems to go on with: it was not started when it was created, or its run has failed."""
    is_late = batch.status == "validating" and work.now >= batch.record.created_at + VALIDATION_SECONDS
    if batch.ended_at is None and (is_late or work.now >= batch.record.expires_at):
        work.runner.start(batches.uri(work.storage, work.owner, batch.record.id))


@router.post("/v1/batches/{batch_id}/cancel")  # noqa: FAST003 - as above
async def cancel_batch(request: Request) -> Response:
    """Cancel a batch; what is done by then is in its output file."""
    work, batch_id = begin(request), request.path_params["batch_id"]
    return respond(_describe(await run_in_thread(request, partial(_cancel, work, batch_id))))


def _cancel(work: Work, batch_id: str) -> Batch:
    batch = batches.cancel(work.storage, work.owner, batch_id, work.now)
    if batch.status == "cancelling":
        work.runner.start(batches.uri(work.storage, work.owner, batch_id))
    return batch


def _describe(batch: Batch) -> batch_objects.Batch:
    record = batch.record
    ended = {batch.status: batch.ended_at}
    errors = [batch_objects.BatchError(**asdict(error)) for error in batch.errors]
    return batch_objects.Batch(
        id=record.id,
        endpoint=record.endpoint,
        model=batch.model,
        errors=batch_objects.BatchErrors(data=errors) if errors else None,
        input_file_id=record.input_file_id,
        completion_window=record.completion_window,
        status=batch.status,
        output_file_id=batch.output_file_id,
        error_file_id=batch.error_file_id,
        created_at=record.created_at,
        in_progress_at=batch.in_progress_at,
        expires_at=record.expires_at,
        finalizing_at=batch.finalizing_at,
        completed_at=ended.get("completed"),
        failed_at=ended.get("failed"),
        expired_at=ended.get("expired"),
        cancelling_at=batch.cancelling_at,
        cancelled_at=ended.get("cancelled"),
        request_counts=batch_objects.RequestCounts(
            total=batch.requests, completed=batch.completed, failed=batch.failed
        ),
        usage=batch_objects.BatchUsage(input_tokens=batch.tokens, total_tokens=batch.tokens),
        metadata=record.metadata,
    )
