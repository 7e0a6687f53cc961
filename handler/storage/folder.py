"""A folder on this machine as storage."""

import errno
import os
import stat
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from handler.errors import BulkError
from handler.storage.entries import Entry, changed

TEMPORARY = "_job/tmp"  # files that are not finished


class Folder:
    """A folder on this machine."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.uri = str(self.path)

    def list(self, prefix: str = "") -> list[Entry]:
        """Return all files whose names start with the prefix, sorted by name."""
        top = self.path / prefix.rpartition("/")[0]
        with os_errors(top):
            walk = list(os.walk(top, onerror=_raise))
            entries = [self._entry(Path(folder, file)) for folder, _, files in walk for file in files]
        for linked in (Path(folder, each) for folder, folders, _ in walk for each in folders):
            if linked.is_symlink() and not linked.name.startswith((".", "_")):
                raise BulkError(f"{linked}: it is a link to a folder, which could be a circle; move the folder there")
        for name in (entry.name for entry in entries if entry):
            if name.encode(errors="replace").decode() != name:
                raise BulkError(f"{self.path}/{name!r}: its name is not UTF-8; rename the file")
        return sorted((e for e in entries if e and e.name.startswith(prefix)), key=lambda entry: entry.name)

    def folders(self, prefix: str) -> Sequence[str]:
        """Return the names of the folders directly below a prefix that ends with a slash, sorted."""
        top = self.path / prefix
        with os_errors(top), suppress(FileNotFoundError):
            return sorted(each.name for each in top.iterdir() if each.is_dir())
        return []

    def _entry(self, path: Path) -> Entry | None:
        """Return a file's entry, or None if it is none, or not any more."""
        try:
            status = path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        name = path.relative_to(self.path).as_posix()
        return Entry(name, status.st_size, str(status.st_mtime_ns)) if stat.S_ISREG(status.st_mode) else None

    def entry(self, name: str) -> Entry:
        """Return a file's entry."""
        with os_errors(self.path / name):
            entry = self._entry(self.path / name)
        if not entry:
            raise BulkError(f"{self.path / name}: the file does not exist")
        return entry

    def exists(self, name: str) -> bool:
        """Return whether a file exists."""
        with os_errors(self.path / name):
            return self._entry(self.path / name) is not None

    def read(self, name: str) -> bytes:
        """Return a small file's content."""
        with os_errors(self.path / name):
            return (self.path / name).read_bytes()

    def stream(self, entry: Entry, start: int = 0) -> BinaryIO:
        """Open a file to read it from an offset on."""
        file = self.random_access(entry)
        file.seek(start)
        return file

    def random_access(self, entry: Entry) -> BinaryIO:
        """Open a file for reads at any place."""
        path = self.path / entry.name
        with os_errors(path):
            file = path.open("rb")
        status = os.fstat(file.fileno())
        if (status.st_size, str(status.st_mtime_ns)) != (entry.size, entry.version):
            file.close()
            raise changed(str(path))
        return file

    def write(self, name: str, content: bytes) -> None:
        """Write a small file, atomically."""
        with self.temporary() as path, os_errors(path):
            path.write_bytes(content)
            self.publish(name, path)

    def create(self, name: str, content: bytes) -> bool:
        """Write a small file, atomically, unless one has the name; return whether it was written."""
        target = self.path / name
        with self.temporary() as path, os_errors(target):
            path.write_bytes(content)
            _sync(path)
            _make_folder(target.parent)
            try:
                target.hardlink_to(path)
            except FileExistsError:
                return False
            _sync(target.parent)
        return True

    def write_stream(self, name: str, blocks: Iterable[bytes]) -> None:
        """Write a file of any size, atomically, in bounded memory."""
        with self.temporary() as path:
            with os_errors(path), path.open("wb") as file:
                file.writelines(blocks)
            self.publish(name, path)

    def publish(self, name: str, path: Path) -> None:
        """Give a finished temporary file its name, wholly or not at all, whenever the power fails."""
        target = self.path / name
        with os_errors(target):
            _sync(path)
            _make_folder(target.parent)
            path.replace(target)
            _sync(target.parent)

    @contextmanager
    def temporary(self) -> Iterator[Path]:
        """Return the path of a new empty file on the same file system."""
        path = self.path / TEMPORARY / uuid.uuid4().hex
        with os_errors(path):
            _make_folder(path.parent)
            path.touch(exist_ok=False)  # with the permissions of any new file, which those of tempfile have not
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    def download_url(self, name: str, seconds: int) -> None:
        """Return None: no server serves the folder."""

    def delete(self, names: Iterable[str]) -> None:
        """Delete files; those that do not exist are no error."""
        for name in names:
            with os_errors(self.path / name):
                (self.path / name).unlink(missing_ok=True)


def _raise(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def _make_folder(path: Path) -> None:
    """Make a folder and those above it, durably."""
    if not path.is_dir():
        _make_folder(path.parent)
        path.mkdir(exist_ok=True)
        _sync(path.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def os_errors(path: Path) -> Iterator[None]:
    """Turn an OSError into a BulkError of one line."""
    try:
        yield
    except OSError as error:
        raise from_os_error(str(path), error) from error


def from_os_error(where: str, error: OSError) -> BulkError:
    """Return the error of one line for what the operating system refuses."""
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return BulkError(f"{where}: the disk is full; free space, and run the job again: it goes on where it was")
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return BulkError(f"{where}: permission denied; check who may read and write there")
        case errno.ENOENT:
            return BulkError(f"{where}: the file does not exist")
        case errno.EEXIST | errno.ENOTDIR:
            return BulkError(f"{where}: there is a file where a folder must be")
        case _:
            return BulkError(f"{where}: {os.strerror(error.errno) if error.errno else str(error).splitlines()[0]}")
