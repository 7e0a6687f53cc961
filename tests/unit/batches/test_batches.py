"""Batches: what their files say, pages, cancelling, idempotency keys, and limits."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from handler.batches import batches
from handler.batches.batches import Batch
from handler.batches.folder import batch_path
from handler.batches.records import BatchEnd, BatchOutcome, BatchPlan, BatchShard, LineError, Moment
from handler.contract.batches import CreateBatch, ExpiresAfter, ListBatches
from handler.errors import ConflictError, NotFoundError, RateLimitError, RequestError
from handler.storage.folder import Folder

NOW, ME, OTHER = 1_780_000_000, "0" * 32, "1" * 32
PLAN = BatchPlan(NOW + 1, "tiny", "d", 30, (BatchShard(0, 0, 9, 10), BatchShard(1, 9, 20, 20)), "file-o", "file-e")


def asked(**changes: Any) -> CreateBatch:
    fields = {"input_file_id": "file-1", "endpoint": "/v1/embeddings", "completion_window": "24h", **changes}
    return CreateBatch(**fields)


def create(storage: Folder, at: int = NOW, key: str | None = None, **changes: Any) -> Batch:
    return batches.create(storage, ME, asked(**changes), at, key)


def write(storage: Folder, batch: Batch, **records: Any) -> Batch:
    """Write what a run writes; return the batch as it is then."""
    for name, record in records.items():
        storage.write(f"{batch_path(ME, batch.record.id)}/{name}.json", record.to_json())
    return batches.get(storage, ME, batch.record.id)


def test_a_new_batch_is_stored_as_it_was_asked_for(storage):
    after = ExpiresAfter(anchor="created_at", seconds=3600)
    batch = create(storage, metadata={"a": "b"}, output_expires_after=after)
    assert batch == batches.get(storage, ME, batch.record.id)
    record = batch.record
    assert (record.created_at, record.expires_at, record.owner) == (NOW, NOW + 86_400, ME)
    assert (record.input_file_id, record.metadata, record.output_expires_after) == ("file-1", {"a": "b"}, 3600)
    assert (batch.status, batch.requests, batch.model) == ("validating", 0, None)
    assert batches.uri(storage, ME, record.id) == f"{storage.path}/owners/{ME}/batches/{record.id}"


def test_status_follows_from_what_exists(storage):
    batch = create(storage)
    batch = write(storage, batch, plan=PLAN)
    assert (batch.status, batch.model, batch.requests, batch.in_progress_at) == ("in_progress", "tiny", 30, NOW + 1)
    folder = batch_path(ME, batch.record.id)
    storage.write(f"{folder}/shards/0.9.1.500", b"")
    storage.write(f"{folder}/shards/1.output", b"not a receipt")
    batch = batches.get(storage, ME, batch.record.id)
    assert (batch.completed, batch.failed, batch.tokens) == (9, 1, 0)
    batch = write(storage, batch, cancel=Moment(NOW + 2))
    assert (batch.status, batch.cancelling_at) == ("cancelling", NOW + 2)
    batch = write(storage, batch, outcome=BatchOutcome(NOW + 3, "cancelled", (0,), "batch_cancelled"))
    assert (batch.status, batch.finalizing_at) == ("cancelling", NOW + 3)
    storage.write(f"{folder}/shards/1.20.0.900", b"")  # too late: it does not count
    assert batches.get(storage, ME, batch.record.id).completed == 9
    batch = write(storage, batch, end=BatchEnd(NOW + 4, "cancelled", 9, 21, 500, "file-o", "file-e"))
    assert (batch.status, batch.ended_at, batch.completed, batch.failed) == ("cancelled", NOW + 4, 9, 21)
    assert (batch.tokens, batch.output_file_id, batch.error_file_id) == (500, "file-o", "file-e")


def test_a_batch_that_completes_finalizes_first(storage):
    batch = write(storage, create(storage), plan=PLAN, outcome=BatchOutcome(NOW + 3, "completed", (0, 1)))
    assert batch.status == "finalizing"
    with pytest.raises(ConflictError, match="Cannot cancel a batch with status 'finalizing'"):
        batches.cancel(storage, ME, batch.record.id, NOW)


def test_an_invalid_input_fails_the_batch(storage):
    error = LineError("invalid_json_line", "This line is not parseable as valid JSON.", None, 7)
    batch = write(storage, create(storage), end=BatchEnd(NOW + 1, "failed", errors=(error,)))
    assert (batch.status, batch.errors, batch.in_progress_at) == ("failed", (error,), None)


def test_a_batch_is_cancelled_once(storage):
    batch = create(storage)
    first = batches.cancel(storage, ME, batch.record.id, NOW + 5)
    assert (first.status, first.cancelling_at) == ("cancelling", NOW + 5)
    assert batches.cancel(storage, ME, batch.record.id, NOW + 6) == first
    ended = write(storage, batch, end=BatchEnd(NOW + 7, "cancelled"))
    assert batches.cancel(storage, ME, batch.record.id, NOW + 8) == ended


@pytest.mark.parametrize("ending", ["completed", "failed", "expired"])
def test_a_batch_that_has_ended_is_not_cancelled(storage, ending):
    batch = write(storage, create(storage), end=BatchEnd(NOW + 1, ending))
    with pytest.raises(ConflictError, match=f"Cannot cancel a batch with status '{ending}'"):
        batches.cancel(storage, ME, batch.record.id, NOW + 2)


def test_a_batch_that_ends_while_it_is_cancelled_is_not_cancelled(storage, monkeypatch):
    batch = create(storage)

    def end_first(name: str, content: bytes) -> bool:
        write(storage, batch, plan=PLAN, outcome=BatchOutcome(NOW + 1, "completed", (0, 1)))
        return Folder.create(storage, name, content)

    monkeypatch.setattr(storage, "create", end_first)
    with pytest.raises(ConflictError, match="with status 'finalizing'"):
        batches.cancel(storage, ME, batch.record.id, NOW + 2)


@pytest.mark.parametrize("batch_id", [f"batch_{'0' * 32}", "", "..", f"file-{'0' * 32}"])
def test_absent_and_foreign_batches_are_not_found(storage, batch_id):
    batch = create(storage)
    for owner, wanted in ((ME, batch_id), (OTHER, batch.record.id)):
        with pytest.raises(NotFoundError, match="No batch found"):
            batches.get(storage, owner, wanted)
        with pytest.raises(NotFoundError, match="No batch found"):
            batches.cancel(storage, owner, wanted, NOW)
    batches.withdraw(storage, ME, batch.record.id)
    with pytest.raises(NotFoundError):
        batches.get(storage, ME, batch.record.id)


def page(storage: Folder, owner: str = ME, **options: Any) -> tuple[list[str], bool]:
    found = batches.page(storage, owner, ListBatches(**options))
    return [each.record.id for each in found.items], found.has_more


def test_pages_have_the_newest_first(storage):
    ids = [create(storage, NOW - 10 * age).record.id for age in range(5)]
    storage.write(f"owners/{ME}/batches/other/file", b"")
    assert page(storage) == (ids, False)
    assert page(storage, limit=2) == (ids[:2], True)
    assert page(storage, limit=2, after=ids[1]) == (ids[2:4], True)
    assert page(storage, limit=2, after=ids[3]) == (ids[4:], False)
    assert page(storage, after=ids[4]) == ([], False)
    assert page(storage, OTHER) == ([], False)
    batches.withdraw(storage, ME, ids[0])
    storage.write(f"{batch_path(ME, ids[0])}/input", b"")
    assert page(storage, limit=2) == (ids[1:3], True)
    with pytest.raises(RequestError, match="Invalid 'after'"):
        page(storage, after="../x")


def test_a_key_stands_for_one_request(storage):
    first = create(storage, key="a")
    assert create(storage, NOW + 100, key="a") == first
    assert create(storage, NOW + 100, key="b") != first
    assert create(storage, NOW + 100) != first
    with pytest.raises(ConflictError, match="Another request has used this Idempotency-Key"):
        create(storage, key="a", metadata={})
    other = batches.create(storage, OTHER, asked(), NOW, "a")
    assert other.record.owner == OTHER
    assert create(storage, key="\ud800/../x").status == "validating"


def test_a_key_whose_batch_was_not_created_stands_for_that_batch(storage):
    """The first request was killed between the two files."""
    first = create(storage, key="a")
    batches.withdraw(storage, ME, first.record.id)
    assert create(storage, NOW + 100, key="a") == first


def test_two_creations_with_one_key_at_once_are_one(storage):
    with ThreadPoolExecutor(8) as pool:
        created = list(pool.map(lambda _: create(storage, key="a"), range(40)))
    assert len({batch.record.id for batch in created}) == 1
    assert len(page(storage)[0]) == 1


def test_number_and_rate_are_limited(storage, monkeypatch):
    monkeypatch.setattr(batches, "MAX_BATCHES_PER_HOUR", 2)
    for at in (NOW - 3600, NOW - 10, NOW):
        first = create(storage, at, key=f"{at}")
    with pytest.raises(RateLimitError, match="2 batches in an hour"):
        create(storage)
    assert create(storage, key=f"{NOW}") == first  # not a new one
    monkeypatch.setattr(batches, "MAX_BATCHES", 3)
    with pytest.raises(RequestError, match="You have 3 batches"):
        create(storage, NOW + 7200)
