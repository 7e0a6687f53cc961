"""Lines of plain and compressed text files, from any byte on, in bounded memory."""

import io
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import BinaryIO, cast

import pyarrow as pa

from handler.bulk.entries import Entry, Storage
from handler.bulk.folder import from_os_error
from handler.bulk.rows import MAX_ROW_BYTES
from handler.errors import BulkError

CODECS = {".gz": "gzip", ".zst": "zstd"}
BLOCK_BYTES = 1 << 20
BOM = b"\xef\xbb\xbf"


def is_compressed(entry: Entry) -> bool:
    """Return whether a file's name says that it is compressed."""
    return entry.name.lower().endswith(tuple(CODECS))


@contextmanager
def open_text(storage: Storage, entry: Entry, start: int) -> Iterator[BinaryIO]:
    """Open a file at a byte of its uncompressed content, which ends there if it is shorter.

    Raises:
        BulkError: the compressed content is damaged or cut off.
    """
    codec = next((codec for suffix, codec in CODECS.items() if entry.name.lower().endswith(suffix)), None)
    where = f"{storage.uri}/{entry.name}"
    try:
        with ExitStack() as stack:
            if not codec:
                yield stack.enter_context(storage.stream(entry, start))
                return
            stream = stack.enter_context(storage.stream(entry))
            content = stack.enter_context(pa.CompressedInputStream(stream, codec))
            unpacked = cast("BinaryIO", io.BufferedReader(content, BLOCK_BYTES))
            while start and (skipped := len(unpacked.read(min(start, BLOCK_BYTES)))):
                start -= skipped
            yield unpacked
    except OSError as error:
        problem = f"its {codec} content is damaged or cut off ({error})"
        raise (BulkError(f"{where}: {problem}") if codec else from_os_error(where, error)) from error


def read_lines(file: BinaryIO, position: int, end: int) -> Iterator[tuple[int, bytes | None]]:
    """Yield the position and the content of each line that starts before `end`; None if it is too long to be a row."""
    while position < end and (line := file.readline(MAX_ROW_BYTES + 1)):
        start, position = position, position + len(line)
        if len(line) <= MAX_ROW_BYTES:
            yield start, line
            continue
        while not line.endswith(b"\n") and position < end and (line := file.readline(BLOCK_BYTES)):
            position += len(line)
        yield start, None


def skip_line(file: BinaryIO, position: int, end: int) -> int:
    """Read to the end of the line, or to `end` if that comes first, and return the position."""
    while position < end and (line := file.readline(min(BLOCK_BYTES, end - position))):
        position += len(line)
        if line.endswith(b"\n"):
            break
    return position
