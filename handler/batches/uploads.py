"""Uploads: files that arrive in parts, because a large one passes neither API Gateway nor Lambda in one piece."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from handler.batches import files
from handler.batches.ids import creation_time, is_id, new_id, only_ids
from handler.batches.records import FileRecord, UploadEnd, UploadRecord
from handler.contract.batches import (
    BEGINNING_BYTES,
    MAX_PARTS,
    CompleteUpload,
    CreateUpload,
    check_beginning,
    life_seconds,
)
from handler.errors import NotFoundError, RateLimitError, RequestError
from handler.storage.entries import Entry, Storage, blocks, read_if_exists

LIFE_SECONDS = 60 * 60
MAX_UPLOADS = 1_000  # of an owner in a day: parts that were never completed are stored that long


@dataclass(frozen=True, slots=True)
class Upload:
    """An upload and how far it is; `file` is what a completed one has become."""

    record: UploadRecord
    status: Literal["pending", "completed", "cancelled", "expired"]
    file: FileRecord | None = None


def create(storage: Storage, owner: str, request: CreateUpload, now: int) -> Upload:
    """Announce a file.

    Raises:
        RequestError, RateLimitError: the owner has too many files.
        RateLimitError: the owner has announced too many files in the last day.
    """
    files.check_room(storage, owner, now)
    ids = only_ids("upload_", storage.folders(_path(owner, "")))
    if sum(creation_time(each) > now - 24 * 60 * 60 for each in ids) >= MAX_UPLOADS:
        raise RateLimitError(f"You have created {MAX_UPLOADS:,} uploads in a day; wait a while.", 60)
    record = UploadRecord(
        id=new_id("upload_", now),
        created_at=now,
        expires_at=now + LIFE_SECONDS,
        filename=request.filename,
        purpose=request.purpose,
        size=request.bytes,
        expires_after=life_seconds(request.expires_after),
    )
    storage.write(f"{_path(owner, record.id)}/upload.json", record.to_json())
    return Upload(record, "pending")


def check_part(storage: Storage, owner: str, upload_id: str, now: int) -> None:
    """Check, before a part is received, that an upload takes one.

    Raises:
        NotFoundError: the owner has no such upload.
        RequestError: it is not pending, or has too many parts.
    """
    upload = _pending(storage, owner, upload_id, now, "add a part to")
    parts = _parts(storage, owner, upload_id)
    # A client sends a part again if it has not seen the response, so there may be more than the file has bytes.
    if len(parts) >= MAX_PARTS or sum(part.size for part in parts.values()) > 2 * upload.record.size:
        raise RequestError(
            f"This upload has {len(parts):,} parts, {MAX_PARTS:,} at most, or twice its bytes: create another.",
            code="too_many_parts",
        )


def add_part(storage: Storage, owner: str, upload_id: str, path: Path, now: int) -> str:
    """Store a part from a temporary file of the storage; return its ID."""
    part_id = new_id("part_", now)
    storage.publish(f"{_path(owner, upload_id)}/{part_id}", path)
    return part_id


def complete(storage: Storage, owner: str, upload_id: str, request: CompleteUpload, now: int) -> Upload:
    """Make a file of an upload's parts, in the order of their IDs; a repeated request finds the same file.

    Raises:
        NotFoundError: the owner has no such upload.
        RequestError: it is not pending, a part does not exist, or the file is not as it was announced.
    """
    upload = _get(storage, owner, upload_id, now)
    file = _file(upload.record, request.part_ids)
    if upload.status == "completed" and upload.file and upload.file.id == file.id:
        return upload
    upload = _pending(storage, owner, upload_id, now, "complete")
    stored = _parts(storage, owner, upload_id)
    parts = _chosen(upload.record, stored, request.part_ids)
    files.add(storage, owner, file, _checked(storage, parts, request.md5))
    if not storage.create(f"{_path(owner, upload_id)}/end.json", UploadEnd(file.id).to_json()):
        ended = _get(storage, owner, upload_id, now)
        if not ended.file or ended.file.id != file.id:
            files.delete(storage, owner, file)
            raise _wrong_status(ended, "complete")
    storage.delete(part.name for part in stored.values())
    return Upload(upload.record, "completed", file)


def cancel(storage: Storage, owner: str, upload_id: str, now: int) -> Upload:
    """Cancel an upload, unless it has been; return it.

    Raises:
        NotFoundError: the owner has no such upload.
        RequestError: it is completed, or has expired.
    """
    upload = _get(storage, owner, upload_id, now)
    if upload.status == "pending":
        storage.create(f"{_path(owner, upload_id)}/end.json", UploadEnd(None).to_json())
        upload = _get(storage, owner, upload_id, now)  # it may have been completed meanwhile
    if upload.status != "cancelled":
        raise _wrong_status(upload, "cancel")
    storage.delete(part.name for part in _parts(storage, owner, upload_id).values())
    return upload


def _get(storage: Storage, owner: str, upload_id: str, now: int) -> Upload:
    stored = read_if_exists(storage, f"{_path(owner, upload_id)}/upload.json") if is_id("upload_", upload_id) else None
    if not stored:
        raise NotFoundError(f"No upload found with id '{upload_id[:64]}'.", param="upload_id")
    record = UploadRecord.from_json(stored)
    end = read_if_exists(storage, f"{_path(owner, upload_id)}/end.json")
    if end:
        file_id = UploadEnd.from_json(end).file_id
        file = files.find(storage, owner, file_id, now) if file_id else None
        return Upload(record, "completed" if file_id else "cancelled", file)
    return Upload(record, "pending" if now < record.expires_at else "expired")


def _pending(storage: Storage, owner: str, upload_id: str, now: int, action: str) -> Upload:
    upload = _get(storage, owner, upload_id, now)
    if upload.status != "pending":
        raise _wrong_status(upload, action)
    return upload


def _wrong_status(upload: Upload, action: str) -> RequestError:
    return RequestError(f"Cannot {action} an upload with status '{upload.status}'.")


def _parts(storage: Storage, owner: str, upload_id: str) -> dict[str, Entry]:
    """Return the parts of an upload by their IDs."""
    entries = storage.list(f"{_path(owner, upload_id)}/part_")
    return {entry.name.rpartition("/")[2]: entry for entry in entries}


def _chosen(record: UploadRecord, stored: dict[str, Entry], part_ids: Sequence[str]) -> list[Entry]:
    for index, part_id in enumerate(part_ids):
        if part_id not in stored:
            raise RequestError(f"No part of this upload has the id '{part_id[:64]}'.", param=f"part_ids.{index}")
    chosen = [stored[part_id] for part_id in part_ids]
    if (total := sum(part.size for part in chosen)) != record.size:
        raise RequestError(
            f"The parts have {total:,} bytes in all, and the upload was created for {record.size:,}.", param="part_ids"
        )
    return chosen


def _checked(storage: Storage, parts: Sequence[Entry], md5: str | None) -> Iterator[bytes]:
    """Yield the content of parts.

    Raises:
        RequestError: it has another MD5, or is not JSON.
    """
    digest, beginning = hashlib.md5(usedforsecurity=False), b""
    for part in parts:
        with storage.stream(part) as stream:
            for block in blocks(stream):
                digest.update(block)
                beginning += block[: BEGINNING_BYTES - len(beginning)]
                yield block
    check_beginning(beginning)
    if md5 is not None and digest.hexdigest() != md5.lower():
        raise RequestError(f"The file's MD5 is {digest.hexdigest()}, not {md5}.", param="md5", code="md5_mismatch")


def _file(record: UploadRecord, part_ids: Sequence[str]) -> FileRecord:
    """Describe the file that an upload becomes; its ID follows from the parts, so that a repeated request finds it."""
    name = hashlib.sha256("\n".join([record.id, *part_ids]).encode(errors="replace")).hexdigest()
    return FileRecord(
        id=f"file-{record.created_at:08x}{name[:24]}",
        size=record.size,
        created_at=record.created_at,
        expires_at=record.created_at + record.expires_after,
        filename=record.filename,
        purpose=record.purpose,
    )


def _path(owner: str, upload_id: str) -> str:
    return f"uploads/{owner}/{upload_id}"
