"""Uploads: parts in any order, sent twice, missing or too many; whole, cancelled, expired, and ended twice at once."""

import hashlib
from typing import Any

import pytest

from handler.batches import files, uploads
from handler.batches.ids import new_id
from handler.batches.records import UploadEnd
from handler.contract.batches import CompleteUpload, CreateUpload
from handler.errors import NotFoundError, RateLimitError, RequestError
from handler.storage.folder import Folder

NOW, ME, OTHER = 1_780_000_000, "0" * 32, "1" * 32
CONTENT = b'{"custom_id": "a"}\n{"custom_id": "b"}\n'
MD5 = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()


def create(storage: Folder, size: int = len(CONTENT)) -> str:
    asked = CreateUpload(bytes=size, filename="a.jsonl", mime_type="text/plain", purpose="batch")
    return uploads.create(storage, ME, asked, NOW).record.id


def add(storage: Folder, upload_id: str, content: bytes) -> str:
    uploads.check_part(storage, ME, upload_id, NOW)
    with storage.temporary() as path:
        path.write_bytes(content)
        return uploads.add_part(storage, ME, upload_id, path, NOW)


def complete(storage: Folder, upload_id: str, *part_ids: str, md5: str | None = None, now: int = NOW) -> Any:
    return uploads.complete(storage, ME, upload_id, CompleteUpload(part_ids=list(part_ids), md5=md5), now)


def test_parts_become_a_file_in_the_given_order(storage):
    upload = create(storage)
    second, first, again = (add(storage, upload, part) for part in (CONTENT[9:], CONTENT[:9], CONTENT[:9]))
    done = complete(storage, upload, first, second, md5=MD5.upper())
    assert (done.status, done.file.size, done.file.filename) == ("completed", len(CONTENT), "a.jsonl")
    assert files.get(storage, ME, done.file.id, NOW) == done.file
    with files.content(storage, ME, done.file) as content:
        assert content.read() == CONTENT
    assert not [entry for entry in storage.list("uploads/") if "/part_" in entry.name], again
    assert complete(storage, upload, first, second) == done  # a repeated request, whose response was lost
    for action in (
        lambda: complete(storage, upload, again, second),
        lambda: uploads.cancel(storage, ME, upload, NOW),
        lambda: add(storage, upload, b"x"),
    ):
        with pytest.raises(RequestError, match="an upload with status 'completed'"):
            action()


@pytest.mark.parametrize(
    ("parts", "md5", "message", "param"),
    [
        ([CONTENT[:9]], None, "The parts have 9 bytes in all, and the upload was created for 38", "part_ids"),
        ([CONTENT, b"x"], None, "The parts have 39 bytes", "part_ids"),
        ([], None, "The parts have 0 bytes", "part_ids"),
        ([CONTENT], "0" * 32, f"The file's MD5 is {MD5}, not 0000", "md5"),
        ([b"x" * len(CONTENT)], None, "the first line is not valid JSON", "file"),
    ],
)
def test_a_file_that_is_not_as_announced_is_refused_and_may_be_completed_later(storage, parts, md5, message, param):
    upload = create(storage)
    ids = [add(storage, upload, part) for part in parts]
    with pytest.raises(RequestError, match=message) as raised:
        complete(storage, upload, *ids, md5=md5)
    assert raised.value.param == param
    assert not storage.list("owners/")
    assert complete(storage, upload, add(storage, upload, CONTENT)).status == "completed"


def test_parts_of_other_uploads_do_not_exist(storage):
    mine, other = create(storage), create(storage)
    part = add(storage, other, CONTENT)
    for part_id in (part, f"../{other}/{part}", new_id("part_", NOW), "upload.json", ""):
        with pytest.raises(RequestError, match="No part of this upload") as raised:
            complete(storage, mine, part_id)
        assert raised.value.param == "part_ids.0"


def test_a_cancelled_upload_loses_its_parts(storage):
    upload = create(storage)
    part = add(storage, upload, CONTENT)
    assert uploads.cancel(storage, ME, upload, NOW).status == "cancelled"
    assert uploads.cancel(storage, ME, upload, NOW).status == "cancelled"
    assert not [entry for entry in storage.list("uploads/") if "/part_" in entry.name]
    with pytest.raises(RequestError, match="Cannot complete an upload with status 'cancelled'"):
        complete(storage, upload, part)


def test_an_upload_expires_after_an_hour(storage):
    upload = create(storage)
    part = add(storage, upload, CONTENT)
    later = NOW + 3600
    for action, name in (
        (lambda: uploads.check_part(storage, ME, upload, later), "add a part to"),
        (lambda: complete(storage, upload, part, now=later), "complete"),
        (lambda: uploads.cancel(storage, ME, upload, later), "cancel"),
    ):
        with pytest.raises(RequestError, match=f"Cannot {name} an upload with status 'expired'"):
            action()
    assert complete(storage, upload, part, now=later - 1).status == "completed"
    assert complete(storage, upload, part, now=later).status == "completed"


@pytest.mark.parametrize("upload_id", [f"upload_{'0' * 32}", "", "../x", f"file-{'0' * 32}"])
def test_absent_and_foreign_uploads_are_not_found(storage, upload_id):
    mine = create(storage)
    for owner, wanted in ((ME, upload_id), (OTHER, mine)):
        for action in (
            lambda owner=owner, wanted=wanted: uploads.check_part(storage, owner, wanted, NOW),
            lambda owner=owner, wanted=wanted: uploads.cancel(storage, owner, wanted, NOW),
            lambda owner=owner, wanted=wanted: uploads.complete(
                storage, owner, wanted, CompleteUpload(part_ids=[]), NOW
            ),
        ):
            with pytest.raises(NotFoundError, match="No upload found"):
                action()


def test_of_a_completion_and_a_cancellation_at_once_one_wins(storage, monkeypatch):
    """The cancellation comes when the file has been written, and before the upload is completed."""
    upload = create(storage)
    part = add(storage, upload, CONTENT)
    real = files.add

    def add_and_cancel(*arguments: Any) -> None:
        real(*arguments)
        uploads.cancel(storage, ME, upload, NOW)

    monkeypatch.setattr(files, "add", add_and_cancel)
    with pytest.raises(RequestError, match="Cannot complete an upload with status 'cancelled'"):
        complete(storage, upload, part)
    assert not storage.list("owners/")


def test_two_equal_completions_at_once_are_one(storage, monkeypatch):
    upload = create(storage)
    part = add(storage, upload, CONTENT)
    real = files.add

    def add_twice(*arguments: Any) -> None:
        monkeypatch.setattr(files, "add", real)
        real(*arguments)
        complete(storage, upload, part)

    monkeypatch.setattr(files, "add", add_twice)
    assert complete(storage, upload, part) == complete(storage, upload, part)
    assert len(storage.list("owners/")) == 2


def test_a_completion_that_was_killed_goes_on(storage):
    """The file has been written, and nothing after it."""
    upload = create(storage)
    part = add(storage, upload, CONTENT)
    done = complete(storage, upload, part)
    storage.delete([f"uploads/{ME}/{upload}/end.json"])
    with storage.temporary() as path:
        path.write_bytes(CONTENT)
        storage.publish(f"uploads/{ME}/{upload}/{part}", path)
    assert complete(storage, upload, part) == done


def test_number_and_bytes_of_parts_are_limited(storage, monkeypatch):
    monkeypatch.setattr(uploads, "MAX_PARTS", 3)
    upload = create(storage)
    for content in (CONTENT, CONTENT):  # one was sent again
        add(storage, upload, content)
    add(storage, upload, b"x")
    with pytest.raises(RequestError, match="has 3 parts"):
        add(storage, upload, b"x")
    upload = create(storage, 1)
    add(storage, upload, b"xxx")
    with pytest.raises(RequestError, match="twice its bytes"):
        add(storage, upload, b"x")


def test_number_of_uploads_is_limited(storage, monkeypatch):
    monkeypatch.setattr(uploads, "MAX_UPLOADS", 1)
    create(storage)
    with pytest.raises(RateLimitError, match="1 uploads in a day"):
        create(storage)


def test_a_completed_upload_whose_file_was_deleted_is_completed_without_it(storage):
    upload = create(storage)
    file = complete(storage, upload, part := add(storage, upload, CONTENT)).file
    files.delete(storage, ME, file)
    assert UploadEnd.from_json(storage.read(f"uploads/{ME}/{upload}/end.json")).file_id == file.id
    with pytest.raises(RequestError, match="with status 'completed'"):
        complete(storage, upload, part)
