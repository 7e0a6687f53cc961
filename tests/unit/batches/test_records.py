"""Records: what is stored is read back."""

import pytest

from handler.batches.records import (
    BatchEnd,
    BatchOutcome,
    BatchPlan,
    BatchRecord,
    BatchShard,
    FileRecord,
    IdempotencyKey,
    LineError,
    Moment,
    UploadEnd,
    UploadRecord,
)

RECORDS = [
    FileRecord("file-1", 5, 1, 2_592_001, "é.jsonl", "batch"),
    BatchRecord("batch_1", "owner", 1, 86_401, "/v1/embeddings", "24h", "file-1", {"a": "b"}, 2_592_000),
    BatchPlan(2, "all-MiniLM-L6-v2", "d" * 64, 3, (BatchShard(0, 0, 90, 2), BatchShard(1, 90, 140, 1)), "file-2", "f"),
    Moment(3),
    BatchOutcome(4, "expired", (0,), "batch_expired"),
    UploadRecord("upload_1", 1, 3_601, "a.jsonl", "batch", 5, 2_592_000),
    UploadEnd("file-1"),
    UploadEnd(None),
    IdempotencyKey("batch_1", "0" * 64),
    BatchEnd(5, "failed", errors=(LineError("invalid_json_line", "No JSON.", None, 7),)),
]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_a_record_is_read_as_it_was_stored(record):
    assert type(record).from_json(record.to_json()) == record
