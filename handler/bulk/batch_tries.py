"""How often work on a batch has begun without getting anywhere: a process that is killed there cannot say so itself."""

import json
from dataclasses import asdict, dataclass

from handler.batches.folder import BatchFolder

TRIES = "tries.json"
MAX_TRIES = 10


@dataclass(frozen=True, slots=True)
class Tries:
    """`count` tries have begun when the batch had `files` files."""

    files: int = 0
    count: int = 0


def begin(folder: BatchFolder) -> int:
    """Count a try, and return how many there have been since the batch last got further."""
    before, files = _read(folder), _files(folder)
    count = before.count + 1 if before.files == files else 1
    _write(folder, Tries(files, count))
    return count


def forgive(folder: BatchFolder) -> None:
    """Do not count the last try."""
    before = _read(folder)
    if before.count:
        _write(folder, Tries(before.files, before.count - 1))


def forget(folder: BatchFolder) -> None:
    """Delete the count of a batch that has ended."""
    folder.storage.delete([folder.path(TRIES)])


def _files(folder: BatchFolder) -> int:
    return sum(not entry.name.endswith(TRIES) for entry in folder.storage.list(folder.path("")))


def _read(folder: BatchFolder) -> Tries:
    name = folder.path(TRIES)
    return Tries(**json.loads(folder.storage.read(name))) if folder.storage.exists(name) else Tries()


def _write(folder: BatchFolder, tries: Tries) -> None:
    folder.storage.write(folder.path(TRIES), json.dumps(asdict(tries)).encode())
