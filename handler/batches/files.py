"""Files of an owner: adding, finding, listing, reading and deleting them.

An expired file is treated as absent; something else deletes it: the bucket, or the worker of a folder.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from handler.batches.ids import check_after, creation_time, is_id, only_ids
from handler.batches.page import Page, read_page
from handler.batches.records import FileRecord
from handler.contract.batches import ListFiles
from handler.errors import NotFoundError, RateLimitError, RequestError
from handler.storage.entries import Storage, read_if_exists

# OpenAI's: 2.5 TB a project, and 1,000 uploads a minute. Every list reads the names of all files, two each, which takes
# S3 a second for 10,000 names: so their number is limited, too. OpenAI lists at most as many in a page.
MAX_FILES, MAX_BYTES, MAX_UPLOADS_PER_MINUTE = 10_000, 2_500_000_000_000, 1_000


def add(storage: Storage, owner: str, record: FileRecord, blocks: Iterable[bytes]) -> FileRecord:
    """Store a file from its blocks, in bounded memory; return its record, with the size that they had.

    A file that is added again under the same ID is overwritten, so it must have the same content.
    """
    size = 0

    def count() -> Iterator[bytes]:
        nonlocal size
        for block in blocks:
            size += len(block)
            yield block

    storage.write_stream(_path(owner, record.id), count())
    return _describe(storage, owner, replace(record, size=size))


def publish(storage: Storage, owner: str, record: FileRecord, path: Path) -> FileRecord:
    """Store a file from a temporary file of the storage."""
    storage.publish(_path(owner, record.id), path)
    return _describe(storage, owner, record)


def _describe(storage: Storage, owner: str, record: FileRecord) -> FileRecord:
    """Write the record, last: without it, there is no file."""
    storage.write(f"{_path(owner, record.id)}.json", record.to_json())
    return record


def get(storage: Storage, owner: str, file_id: str, now: int) -> FileRecord:
    """Return the record of an owner's file.

    Raises:
        NotFoundError: the owner has no such file, or it has expired.
    """
    record = find(storage, owner, file_id, now)
    if not record:
        raise NotFoundError(f"No such File object: {file_id[:64]}", param="id")
    return record


def find(storage: Storage, owner: str, file_id: str, now: int) -> FileRecord | None:
    """Return the record of an owner's file, or None if there is no such file, or it has expired."""
    stored = read_if_exists(storage, f"{_path(owner, file_id)}.json") if is_id("file-", file_id) else None
    record = FileRecord.from_json(stored) if stored else None
    return record if record and record.expires_at > now else None


def content(storage: Storage, owner: str, record: FileRecord) -> BinaryIO:
    """Open a file's content, to read it from front to back."""
    return storage.stream(storage.entry(_path(owner, record.id)))


def download_url(storage: Storage, owner: str, record: FileRecord, seconds: int) -> str | None:
    """Return a URL at which a file can be downloaded without a key for some time, or None if there is none."""
    return storage.download_url(_path(owner, record.id), seconds)


def delete(storage: Storage, owner: str, record: FileRecord) -> None:
    """Delete a file; its record first, so that no record is without its content."""
    storage.delete([f"{_path(owner, record.id)}.json"])
    storage.delete([_path(owner, record.id)])


def page(storage: Storage, owner: str, request: ListFiles, now: int) -> Page[FileRecord]:
    """Return files of an owner in the order of their creation, from the one after a given one on."""
    check_after("file-", request.after)
    names = [entry.name.rpartition("/")[2] for entry in storage.list(_path(owner, ""))]
    ids = only_ids("file-", (name.removesuffix(".json") for name in names if name.endswith(".json")))
    if request.order == "desc":
        ids.reverse()
    if after := request.after:
        ids = [each for each in ids if (each > after if request.order == "asc" else each < after)]

    def read(file_id: str) -> FileRecord | None:
        record = find(storage, owner, file_id, now)
        return record if record and request.purpose in {None, record.purpose} else None

    return read_page(ids, read, request.limit)


def check_room(storage: Storage, owner: str, now: int) -> None:
    """Check that an owner may add a file.

    Raises:
        RequestError: the owner has too many files, or too many bytes.
        RateLimitError: the owner has added too many files in the last minute.
    """
    entries = storage.list(_path(owner, ""))
    ids = only_ids("file-", (entry.name.rpartition("/")[2] for entry in entries))
    if len(ids) >= MAX_FILES or sum(entry.size for entry in entries) >= MAX_BYTES:
        raise RequestError(
            f"You have {MAX_FILES:,} files or {MAX_BYTES / 1e12} TB, and no more are stored: delete files that you do "
            "not need, or give them an earlier end with 'expires_after'.",
            code="too_many_files",
        )
    if sum(creation_time(each) > now - 60 for each in ids) >= MAX_UPLOADS_PER_MINUTE:
        raise RateLimitError(f"You have created {MAX_UPLOADS_PER_MINUTE:,} files in a minute; wait a minute.", 60)


def _path(owner: str, file_id: str) -> str:
    return f"owners/{owner}/files/{file_id}"
