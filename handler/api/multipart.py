"""Forms with one file, parsed while they arrive; the file goes to the disk, never as a whole into memory."""

import logging
import re
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import BinaryIO

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.datastructures import Headers
from starlette.requests import Request

from handler.api.stored import run_in_thread
from handler.contract.batches import BEGINNING_BYTES
from handler.errors import RequestError
from handler.storage.folder import os_errors

MAX_FIELDS, MAX_FIELD_BYTES = 16, 1_024
FRAMING_BYTES = 64 << 10  # of a form besides its file
_silent = logging.getLogger(__name__)
_silent.disabled = True


@dataclass(slots=True)
class Form:
    """What has arrived of a form.

    fields     the values of its fields, without the file
    filename   the file's name; None if it has none
    size       the file's bytes
    beginning  the first ones of them, BEGINNING_BYTES at most
    """

    fields: dict[str, str] = field(default_factory=dict)
    filename: str | None = None
    size: int = 0
    beginning: bytes = b""


@dataclass(frozen=True, slots=True)
class ExpectedFile:
    """The file of a form: the name of its field, its size in bytes at most, and the error if it has more."""

    param: str
    limit: int
    error: RequestError

    def check(self, size: int) -> None:
        """Check a size.

        Raises:
            RequestError: it is too large.
        """
        if size > self.limit:
            raise self.error


class FormReader:
    """Parses a form block by block, and writes its only file to an open file.

    Raises:
        RequestError: it is not such a form; the message names the field.
    """

    def __init__(self, boundary: bytes, expected: ExpectedFile, target: BinaryIO) -> None:
        self.form = Form()
        self._param, self._expected, self._target = expected.param, expected, target
        self._received = 0
        self._seen: set[str] = set()
        self._complete = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin_part,
                "on_header_begin": self._begin_header,
                "on_header_field": self._add_name,
                "on_header_value": self._add_value,
                "on_header_end": self._end_header,
                "on_headers_finished": self._end_headers,
                "on_part_data": self._add_data,
                "on_part_end": self._end_part,
                "on_end": self._end,
            },
        )
        self._parser.logger = _silent  # it would log a warning for every malformed form

    def feed(self, block: bytes) -> None:
        """Parse a block."""
        self._received += len(block)
        self._expected.check(self._received - FRAMING_BYTES)
        try:
            self._parser.write(block)
        except FormParserError as error:
            raise _malformed(str(error)) from None

    def finish(self) -> Form:
        """Return the form, once all blocks have been parsed."""
        if not self._complete:
            raise _malformed("it ends before its last boundary")
        if self._param not in self._seen:
            raise RequestError(
                f"Missing required parameter: '{self._param}'.", param=self._param, code="missing_required_parameter"
            )
        return self.form

    def _begin_part(self) -> None:
        self._disposition, self._value = b"", bytearray()

    def _begin_header(self) -> None:
        self._header, self._header_value = bytearray(), bytearray()

    def _add_name(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _add_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _end_header(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = bytes(self._header_value)

    def _end_headers(self) -> None:
        kind, options = parse_options_header(self._disposition)
        if kind != b"form-data" or b"name" not in options:
            raise _malformed("a part has no Content-Disposition that names its field")
        self._name = options[b"name"].decode(errors="replace")
        if self._name in self._seen:
            raise RequestError(f"'{self._name[:64]}' occurs twice in the form.", param=self._name[:64])
        if len(self._seen) == MAX_FIELDS:
            raise _malformed(f"it has more than {MAX_FIELDS} fields")
        self._seen.add(self._name)
        if self._name == self._param:
            filename = options.get(b"filename")
            self.form.filename = None if filename is None else filename.decode(errors="replace")

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        if self._name != self._param:
            self._value += data[start:end]
            if len(self._value) > MAX_FIELD_BYTES:
                raise RequestError(
                    f"'{self._name[:64]}' has more than {MAX_FIELD_BYTES:,} bytes.", param=self._name[:64]
                )
            return
        self.form.size += end - start
        self._expected.check(self.form.size)
        if (missing := BEGINNING_BYTES - len(self.form.beginning)) > 0:
            self.form.beginning += data[start : min(end, start + missing)]
        self._target.write(memoryview(data)[start:end])

    def _end_part(self) -> None:
        if self._name != self._param:
            self.form.fields[self._name] = self._value.decode(errors="replace")

    def _end(self) -> None:
        self._complete = True


async def receive_form(request: Request, expected: ExpectedFile, path: Path) -> Form:
    """Receive a form; write its file to an existing path.

    Raises:
        RequestError: it is not a form with such a file; the message names the field.
        BulkError: the disk is full, or cannot be written.
        ClientDisconnect: the client has gone before the form's end.
    """
    boundary = _boundary(request.headers)
    length = request.headers.get("content-length", "")
    expected.check((int(length) if length.isascii() and length.isdigit() and len(length) < 20 else 0) - FRAMING_BYTES)
    unlimited = Request(request.scope, request.scope["receive"])
    with os_errors(path), path.open("wb") as target:
        reader = FormReader(boundary, expected, target)
        async for block in unlimited.stream():
            await run_in_thread(request, partial(reader.feed, block))
    return reader.finish()


def _boundary(headers: Headers) -> bytes:
    """Return what separates the parts of a form (RFC 2046, section 5.1.1)."""
    kind, options = parse_options_header(headers.get("content-type"))
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not re.fullmatch(rb"[ -~]{0,199}[!-~]", boundary):
        raise _malformed("its Content-Type is not multipart/form-data with a boundary")
    if headers.get("content-encoding", "identity").strip().lower() not in {"", "identity"}:
        raise _malformed("it has a Content-Encoding: send it as it is")
    return boundary


def _malformed(failure: str) -> RequestError:
    return RequestError(f"We could not parse the form of your request: {failure}.", code="invalid_form")
