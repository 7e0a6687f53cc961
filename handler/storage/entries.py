"""Files that a job reads and writes, and the interface of what stores them.

Names are relative, and their parts are separated by '/'. Every error is a BulkError of one line, and a
StorageUnavailableError if it may be gone the next time.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol, TypeVar

from handler.errors import BulkError, StorageUnavailableError

FILES_AT_ONCE = 16
BLOCK_BYTES = 1 << 20
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Entry:
    """A file; `version` changes when it is written again: an S3 ETag, or the time of the change in nanoseconds."""

    name: str
    size: int
    version: str


class Storage(Protocol):
    """A folder or a prefix."""

    uri: str

    def list(self, prefix: str = "") -> list[Entry]:
        """Return all files whose names start with the prefix, sorted by name."""

    def folders(self, prefix: str) -> Sequence[str]:
        """Return the names of the folders directly below a prefix that ends with a slash, sorted."""

    def entry(self, name: str) -> Entry:
        """Return a file's entry."""

    def exists(self, name: str) -> bool:
        """Return whether a file exists."""

    def read(self, name: str) -> bytes:
        """Return a small file's content."""

    def stream(self, entry: Entry, start: int = 0) -> BinaryIO:
        """Open a file to read it from an offset on; reading raises a BulkError if it is not as the entry says."""

    def random_access(self, entry: Entry) -> BinaryIO:
        """Open a file for few large reads at any place; it is checked as a stream is."""

    def write(self, name: str, content: bytes) -> None:
        """Write a small file, atomically."""

    def create(self, name: str, content: bytes) -> bool:
        """Write a small file, atomically, unless one has the name; return whether it was written."""

    def write_stream(self, name: str, blocks: Iterable[bytes]) -> None:
        """Write a file of any size, atomically, in bounded memory."""

    def publish(self, name: str, path: Path) -> None:
        """Give a finished temporary file its name, atomically, in place of one that has the name."""

    def temporary(self) -> AbstractContextManager[Path]:
        """Return the path of a new empty file to write and then publish; it is removed afterwards if it was not."""

    def download_url(self, name: str, seconds: int) -> str | None:
        """Return a URL at which anyone can download a file for some time, or None if there is none."""

    def delete(self, names: Iterable[str]) -> None:
        """Delete files; those that do not exist are no error."""


def read_if_exists(storage: Storage, name: str) -> bytes | None:
    """Return a small file's content, or None if there is no such file."""
    try:
        return storage.read(name)
    except StorageUnavailableError:
        raise
    except BulkError:
        if storage.exists(name):
            raise
        return None


def blocks(file: BinaryIO) -> Iterator[bytes]:
    """Yield the rest of a file, a MiB at a time."""
    while block := file.read(BLOCK_BYTES):
        yield block


def in_threads(read: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    """Yield what a function returns for each item, in order; S3 takes many requests at once, but answers none soon."""
    with ThreadPoolExecutor(FILES_AT_ONCE) as pool:
        yield from pool.map(read, items)


def changed(where: str) -> BulkError:
    """Return the error of an input that is not what was planned."""
    return BulkError(f"{where}: the file has changed since the job was planned; restore it, or start a new job")
