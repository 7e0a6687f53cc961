"""Expiry: what has expired goes, at its time, and nothing else does."""

import os

import pytest

from handler.batches import batches, files, uploads
from handler.batches.expiry import BATCH_SECONDS, DAY, delete_expired
from handler.batches.folder import batch_path
from handler.batches.ids import new_id
from handler.batches.records import FileRecord
from handler.contract.batches import CreateBatch, CreateUpload
from handler.storage.folder import TEMPORARY

NOW, ME = 1_780_000_000, "0" * 32
BATCH = CreateBatch(input_file_id="file-1", endpoint="/v1/embeddings", completion_window="24h")
UPLOAD = CreateUpload(bytes=5, filename="a.jsonl", mime_type="text/plain", purpose="batch")


@pytest.fixture
def stored(storage):
    """Store one thing of each kind."""
    storage.write("other/file", b"")
    storage.write(f"owners/{ME}/files/other", b"")
    record = FileRecord(new_id("file-", NOW), 0, NOW, NOW + 3600, "a.jsonl", "batch")
    files.add(storage, ME, record, [b"x"])
    storage.write(f"owners/{ME}/files/{new_id('file-', NOW)}", b"without a record: its process was killed")
    batch = batches.create(storage, ME, BATCH, NOW, "key")
    storage.write(f"{batch_path(ME, batch.record.id)}/shards/0.1.0.5", b"")
    uploads.create(storage, ME, UPLOAD, NOW)
    storage.write(f"{TEMPORARY}/left", b"")
    for entry in storage.list():
        os.utime(storage.path / entry.name, (NOW, NOW))
    return storage.list()


@pytest.mark.parametrize(
    ("seconds", "gone"),
    [
        (3599, []),
        (3600, ["file-", ".json"]),
        (DAY, []),
        (DAY + 1, ["uploads/", TEMPORARY]),
        (2 * DAY, []),
        (2 * DAY + 1, ["files/file-"]),
        (BATCH_SECONDS, []),
        (BATCH_SECONDS + 1, ["batches/", "keys/"]),
    ],
)
def test_everything_goes_at_its_time(storage, stored, seconds, gone):
    assert stored
    delete_expired(storage, NOW + seconds - 1)
    before = [entry.name for entry in storage.list()]
    delete_expired(storage, NOW + seconds)
    went = set(before) - {entry.name for entry in storage.list()}
    assert bool(went) == bool(gone)
    assert all(any(part in name for part in gone) for name in went)
    assert all(any(part in name for name in went) for part in gone)


def test_what_is_not_ours_remains(storage, stored):
    assert stored
    delete_expired(storage, NOW + 10 * BATCH_SECONDS)
    assert [entry.name for entry in storage.list()] == ["other/file", f"owners/{ME}/files/other"]
    assert not storage.folders(f"owners/{ME}/batches/")
    assert not storage.folders(f"uploads/{ME}/")
    delete_expired(storage, NOW + 10 * BATCH_SECONDS)
