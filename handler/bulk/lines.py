"""Lines of plain and compressed text files, from any byte on, in bounded memory."""

import io
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from threading import Lock
from typing import BinaryIO, cast

import pyarrow as pa

from handler.bulk.rows import MAX_ROW_BYTES
from handler.errors import BulkError
from handler.storage.entries import Entry, Storage
from handler.storage.folder import from_os_error

CODECS = {".gz": "gzip", ".zst": "zstd"}
BLOCK_BYTES = 1 << 20
BOM = b"\xef\xbb\xbf"


class Lines:
    """An open file at the start of a line, unless `cut`; positions are bytes of the uncompressed content."""

    def __init__(self, file: BinaryIO, position: int, opened: ExitStack) -> None:
        self.position = self.sought = position  # no line starts in [sought, position)
        self.cut = False
        self.opened = opened
        self._file = file

    def readline(self, limit: int) -> bytes:
        """Return the rest of the line, or `limit` bytes of it."""
        line = self._file.readline(limit)
        self.position += len(line)
        return line

    def until(self, end: int) -> Iterator[tuple[int, bytes | None]]:
        """Yield the start and the content of each line that starts before `end`; None if it is too long for a row."""
        while (start := self.position) < end and (line := self.readline(MAX_ROW_BYTES + 1)):
            if len(line) > MAX_ROW_BYTES:
                self.skip_line(end)
            yield start, line if len(line) <= MAX_ROW_BYTES else None

    def skip_line(self, end: int) -> None:
        """Go to the start of the next line, or to `end` if that comes first."""
        self.cut = True
        while self.position < end and (line := self.readline(min(BLOCK_BYTES, end - self.position))):
            if line.endswith(b"\n"):
                self.cut = False
                return

    def skip_to(self, position: int) -> None:
        """Go to a position, or to the end of the file."""
        while self.position < position and (block := self._file.read(min(BLOCK_BYTES, position - self.position))):
            self.position += len(block)

    def blocks(self) -> Iterator[bytes]:
        """Yield the rest of the file."""
        self.cut = True
        while block := self._file.read(BLOCK_BYTES):
            yield block


@contextmanager
def open_lines(storage: Storage, entry: Entry, start: int, end: int) -> Iterator[Lines]:
    """Open a file at the first line that starts in [start, end), if one does.

    A compressed file can only be read from its start. So the one that was read last stays open: a job, which goes on
    where the last range ended, does not start again.

    Raises:
        BulkError: the file has changed, or its compressed content is damaged or cut off.
    """
    codec = _codec(entry)
    try:
        lines = _take(storage, entry, start) or _open(storage, entry, codec, start)
        with ExitStack() as opened:
            opened.push(lines.opened)
            if lines.position < start:
                lines.skip_to(start - 1)
                lines.skip_line(end)
            yield lines
            if codec and not lines.cut:
                lines.sought = max(end, lines.sought)
                opened.pop_all()
                _keep(storage, entry, lines)
    except OSError as error:
        where = f"{storage.uri}/{entry.name}"
        damaged = BulkError(f"{where}: its {codec} content is damaged or cut off ({error})")
        raise (damaged if codec else from_os_error(where, error)) from error


def is_compressed(entry: Entry) -> bool:
    """Return whether a file's name says that it is compressed."""
    return _codec(entry) is not None


def _codec(entry: Entry) -> str | None:
    return next((codec for suffix, codec in CODECS.items() if entry.name.lower().endswith(suffix)), None)


def _open(storage: Storage, entry: Entry, codec: str | None, start: int) -> Lines:
    """Open a file at the byte before `start`, which tells if a line starts there; a compressed one at its start."""
    with ExitStack() as opened:
        position = 0 if codec else max(0, start - 1)
        file = opened.enter_context(storage.stream(entry, position))
        if codec:
            content = opened.enter_context(pa.CompressedInputStream(file, codec))
            file = cast("BinaryIO", io.BufferedReader(content, BLOCK_BYTES))
        return Lines(file, position, opened.pop_all())


_lock = Lock()
_kept: list[tuple[str, Entry, Lines]] = []  # the compressed file that was read last


def _take(storage: Storage, entry: Entry, start: int) -> Lines | None:
    """Return the file that was kept if it is this one, and can still be read from `start` on."""
    with _lock:
        for uri, name, lines in _kept:
            if (uri, name) == (storage.uri, entry) and lines.sought <= start:
                _kept.clear()
                return lines
    return None


def _keep(storage: Storage, entry: Entry, lines: Lines) -> None:
    with _lock:
        for _, _, other in _kept:
            other.opened.close()
        _kept[:] = [(storage.uri, entry, lines)]
