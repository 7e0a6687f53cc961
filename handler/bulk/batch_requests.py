"""The lines of a batch's input: each a request, read from any byte on in bounded memory."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import orjson

from handler.batches.folder import INPUT, BatchFolder
from handler.batches.records import BatchShard
from handler.contract.body import check_containers
from handler.contract.schemas import EmbeddingRequest
from handler.errors import BulkError, RequestError
from handler.storage.entries import BLOCK_BYTES, changed

BODY_BYTES, ENVELOPE_BYTES = 4 << 20, 64 << 10  # the body is as large as one of POST /v1/embeddings may be
MAX_LINE_BYTES = BODY_BYTES + ENVELOPE_BYTES
BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Line:
    """A line that is not blank.

    number   counts all lines from 1
    start    its first byte in the file
    end      the byte after its last, the line break included
    content  what is in it, without white space around it, or None if it is too long
    """

    number: int
    start: int
    end: int
    content: bytes | None


@dataclass(frozen=True, slots=True)
class Request:
    """A request of a valid input: its first byte in the file, and its body, or why the body is refused."""

    position: int
    custom_id: str
    body: EmbeddingRequest | RequestError


def read_lines(file: BinaryIO, start: int = 0) -> Iterator[Line]:
    """Yield the lines of a file that has been opened at the first byte of one, without a byte order mark."""
    number, position = 0, start
    while line := file.readline(MAX_LINE_BYTES + 1):
        number += 1
        end = position + len(line)
        whole = len(line) <= MAX_LINE_BYTES
        while not line.endswith(b"\n") and not whole and (line := file.readline(BLOCK_BYTES)):
            end += len(line)
        content = (line if position else line.removeprefix(BOM)).strip(b" \t\r\n") if whole else None
        if content != b"":
            yield Line(number, position, end, content)
        position = end


def read_requests(folder: BatchFolder, shard: BatchShard) -> Iterator[Request]:
    """Yield the requests of a shard.

    Raises:
        BulkError: the input is not the one that was planned.
    """
    storage, count = folder.storage, 0
    with storage.stream(storage.entry(folder.path(INPUT)), shard.start) as file:
        for line in read_lines(file, shard.start):
            if line.start >= shard.end:
                break
            count += 1
            yield _parse(line)
    if count != shard.requests:
        raise changed(f"{storage.uri}/{folder.path(INPUT)}")


def _parse(line: Line) -> Request:
    fields = parse_object(line.content or b"")
    if not fields or "body" not in fields or not isinstance(fields.get("custom_id"), str):
        raise BulkError(f"the line at byte {line.start} is not the request that was planned")
    try:
        body: EmbeddingRequest | RequestError = EmbeddingRequest.parse(orjson.dumps(fields["body"]))
    except RequestError as error:
        body = error
    return Request(line.start, fields["custom_id"], body)


def parse_object(content: bytes) -> dict[str, Any] | None:
    """Return the JSON object in a line, or None if there is none, or one with too many lists and objects."""
    try:
        check_containers(content)
        value = orjson.loads(content)
    except (RequestError, orjson.JSONDecodeError):
        return None
    return value if isinstance(value, dict) else None
