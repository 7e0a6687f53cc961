"""A batch's folder: facts that are known or not yet, receipts, and which batches wait."""

import pytest

from handler.batches.folder import (
    BATCH,
    CANCEL,
    END,
    OUTCOME,
    PLAN,
    BatchFolder,
    ShardReceipt,
    receipts,
    waiting,
)
from handler.batches.records import BatchEnd, BatchOutcome, BatchPlan, BatchRecord, BatchShard, Moment
from handler.errors import BulkError
from handler.storage.folder import Folder

RECORD = BatchRecord("batch_1", "me", 1, 86_401, "/v1/embeddings", "24h", "file-1", None, 2_592_000)
FACTS = {
    PLAN: BatchPlan(2, "m", "d", 1, (BatchShard(0, 0, 9, 1),), "file-2", "file-3"),
    CANCEL: Moment(3),
    OUTCOME: BatchOutcome(4, "cancelled", ()),
    END: BatchEnd(5, "cancelled"),
}


def test_a_fact_is_none_until_it_is_known(tmp_path):
    folder = BatchFolder(Folder(tmp_path), "me", "batch_1")
    with pytest.raises(BulkError, match=r"batch\.json: the file does not exist"):
        folder.record()
    assert [folder.plan(), folder.cancelled(), folder.outcome(), folder.end()] == [None] * 4
    for name, fact in FACTS.items():
        folder.storage.write(folder.path(name), fact.to_json())
    assert [folder.plan(), folder.cancelled(), folder.outcome(), folder.end()] == list(FACTS.values())


def test_receipts_are_read_from_names(tmp_path):
    folder = BatchFolder(Folder(tmp_path), "me", "batch_1")
    done = [ShardReceipt(number, 10 * number, number, 99) for number in (0, 12)]
    for receipt in done:
        folder.storage.write(folder.path(receipt.name), b"")
        folder.storage.write(folder.path(f"shards/{receipt.number}.output"), b"{}")
    assert folder.receipts() == {0: done[0], 12: done[1]}
    assert receipts(["shards/3.output", "input", "shards/3.1.2.3.4"]) == {}


def test_batches_that_have_not_ended_wait_in_the_order_of_their_ids(tmp_path):
    storage = Folder(tmp_path)
    assert waiting(storage) == []
    for owner, id_ in (("a", "batch_2"), ("b", "batch_1"), ("a", "batch_3")):
        storage.write(f"owners/{owner}/batches/{id_}/{BATCH}", RECORD.to_json())
    storage.write(f"owners/a/batches/batch_2/{END}", FACTS[END].to_json())
    storage.write("owners/a/files/file-1", b"")
    storage.write("owners/a/batches/batch_0/input", b"")  # without batch.json, it was never created
    assert [(folder.owner, folder.id) for folder in waiting(storage)] == [("b", "batch_1"), ("a", "batch_3")]
