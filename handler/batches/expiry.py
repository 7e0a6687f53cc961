"""What has expired is deleted from a folder; a bucket deletes it by rules of its own."""

import shutil
from collections.abc import Iterator

from handler.batches.ids import Kind, creation_time, is_id
from handler.batches.records import FileRecord
from handler.storage.entries import read_if_exists
from handler.storage.folder import TEMPORARY, Folder

DAY = 24 * 60 * 60
UPLOAD_SECONDS = DAY  # an upload ends after an hour
# A batch ends a day after its creation, and its files 30 days after that.
BATCH_SECONDS = 32 * DAY


def delete_expired(folder: Folder, now: int) -> None:
    """Delete what has expired: files, batches with their keys, uploads, and what a killed process has left.

    Raises:
        BulkError: the folder cannot be read, or something in it not be deleted.
    """
    folder.delete(_names(folder, now))
    for owner in folder.folders("owners/"):
        _delete_folders(folder, f"owners/{owner}/batches/", "batch_", now - BATCH_SECONDS)
    for owner in folder.folders("uploads/"):
        _delete_folders(folder, f"uploads/{owner}/", "upload_", now - UPLOAD_SECONDS)


def _names(folder: Folder, now: int) -> Iterator[str]:
    for entry in folder.list(f"{TEMPORARY}/"):
        if int(entry.version) < (now - DAY) * 10**9:
            yield entry.name
    for owner in folder.folders("owners/"):
        for entry in folder.list(f"owners/{owner}/keys/"):
            if int(entry.version) < (now - BATCH_SECONDS) * 10**9:
                yield entry.name
        for entry in folder.list(f"owners/{owner}/files/"):
            yield from _names_of_file(folder, entry.name, now)


def _names_of_file(folder: Folder, name: str, now: int) -> Iterator[str]:
    """Yield a name of a file, and first that of its record, if it has expired or was never finished."""
    file_id = name.rpartition("/")[2]
    if not is_id("file-", file_id):
        return
    stored = read_if_exists(folder, f"{name}.json")
    if FileRecord.from_json(stored).expires_at <= now if stored else creation_time(file_id) < now - 2 * DAY:
        yield f"{name}.json"
        yield name


def _delete_folders(folder: Folder, above: str, kind: Kind, oldest: int) -> None:
    for name in folder.folders(above):
        if is_id(kind, name) and creation_time(name) < oldest:
            shutil.rmtree(folder.path / above / name, ignore_errors=True)  # another process may delete it as well
