"""Files of an owner in a folder."""

from dataclasses import replace
from typing import Any

import pytest

from handler.batches import files
from handler.batches.ids import new_id
from handler.batches.records import FileRecord
from handler.contract.batches import ListFiles
from handler.errors import NotFoundError, RateLimitError, RequestError
from handler.storage.folder import Folder

NOW, ME, OTHER = 1_780_000_000, "0" * 32, "1" * 32


def record(at: int = NOW, purpose: str = "batch") -> FileRecord:
    return FileRecord(new_id("file-", at), 0, at, at + 3600, "é/../x.jsonl", purpose)


def add(storage: Folder, at: int = NOW, purpose: str = "batch") -> FileRecord:
    return files.add(storage, ME, record(at, purpose), iter([b"ab", b"c"]))


def test_a_file_is_found_and_read(storage):
    file = add(storage)
    assert file.size == 3
    assert files.get(storage, ME, file.id, NOW) == file
    with files.content(storage, ME, file) as content:
        assert content.read() == b"abc"
    assert files.download_url(storage, ME, file, 60) is None


def test_a_published_file_is_found(storage):
    file = replace(record(), size=2)
    with storage.temporary() as path:
        path.write_bytes(b"xy")
        files.publish(storage, ME, file, path)
    assert files.get(storage, ME, file.id, NOW) == file


def test_absent_expired_and_foreign_files_are_not_found(storage):
    file = add(storage)
    attempts = [(OTHER, file.id, NOW), (ME, file.id, NOW + 3600), (ME, record().id, NOW), (ME, f"{file.id}/", NOW)]
    for owner, file_id, now in attempts:
        with pytest.raises(NotFoundError, match="No such File object"):
            files.get(storage, owner, file_id, now)
    files.delete(storage, ME, file)
    with pytest.raises(NotFoundError):
        files.get(storage, ME, file.id, NOW)
    assert not storage.list("owners/")


def page(storage: Folder, **options: Any) -> tuple[list[str], bool]:
    found = files.page(storage, ME, ListFiles(**options), NOW)
    return [each.id for each in found.items], found.has_more


def test_pages_are_in_order_and_complete(storage):
    added = [add(storage, NOW - 10 * age).id for age in range(5)]  # the newest first
    assert page(storage) == (added, False)
    assert page(storage, order="asc") == (added[::-1], False)
    assert page(storage, limit=2) == (added[:2], True)
    assert page(storage, limit=2, after=added[1]) == (added[2:4], True)
    assert page(storage, limit=2, after=added[3]) == (added[4:], False)
    assert page(storage, limit=2, after=added[3], order="asc") == (added[2:0:-1], True)
    assert page(storage, after=added[4]) == ([], False)
    assert page(Folder(storage.path / "empty")) == ([], False)


def test_pages_have_neither_expired_nor_other_purposes(storage):
    add(storage, NOW - 4000)
    output, ours = add(storage, NOW - 10, "batch_output").id, add(storage).id
    assert page(storage) == ([ours, output], False)
    assert page(storage, purpose="batch", limit=1) == ([ours], True)
    assert page(storage, purpose="batch", after=ours) == ([], False)
    assert page(storage, purpose="batch_output") == ([output], False)
    assert page(storage, purpose="vision") == ([], False)


def test_number_rate_and_bytes_are_limited(storage, monkeypatch):
    monkeypatch.setattr(files, "MAX_UPLOADS_PER_MINUTE", 2)
    add(storage, NOW - 100)
    add(storage)
    files.check_room(storage, ME, NOW)
    storage.write(f"owners/{ME}/files/other", b"")
    add(storage)
    with pytest.raises(RateLimitError, match="2 files in a minute"):
        files.check_room(storage, ME, NOW)
    files.check_room(storage, ME, NOW + 61)
    files.check_room(storage, OTHER, NOW)
    for limit, value in (("MAX_FILES", 3), ("MAX_BYTES", 9)):
        with monkeypatch.context() as patch:
            patch.setattr(files, limit, value)
            with pytest.raises(RequestError, match="delete files"):
                files.check_room(storage, ME, NOW + 61)
