"""Forms with one file, parsed while they arrive; the file goes to the disk, never as a whole into memory.

Starlette's parser needs a package that Starlette would also import at every cold start, and it would write the file to
another place, from which it had to be copied.
"""

import re
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import BinaryIO

from starlette.datastructures import Headers
from starlette.requests import Request

from handler.api.stored import run_in_thread
from handler.contract.batches import BEGINNING_BYTES
from handler.errors import RequestError
from handler.storage.folder import os_errors

MAX_FIELDS, MAX_FIELD_BYTES, MAX_HEAD_BYTES = 16, 1_024, 8 << 10
FRAMING_BYTES = 64 << 10  # of a form besides its file
# Parameters of a header, in quotes or without; the form of RFC 8187, name*=, is forbidden in forms (RFC 7578, 4.2).
PARAMETER = rb'[ \t]*+;[ \t]*+([\w*-]++)=("(?:[^"\\]++|\\.)*+"|[^ \t;"]*+)'
DISPOSITION = b"content-disposition"
FORM_DATA = rb"(?is)form-data((?:%b)*+)[ \t;]*+" % PARAMETER
MULTIPART = rb"(?is)multipart/form-data((?:%b)*+)[ \t;]*+" % PARAMETER


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
    """Parses a form block by block (RFC 2046, section 5.1.1; RFC 7578), and writes its only file to an open file.

    Raises:
        RequestError: it is not such a form; the message names the field.
    """

    def __init__(self, boundary: bytes, expected: ExpectedFile, target: BinaryIO) -> None:
        self._form, self._expected, self._target = Form(), expected, target
        self._delimiter = b"\r\n--" + boundary
        self._buffer = bytearray(b"\r\n")  # the first delimiter has no line before it
        self._step = self._skip_preamble
        self._received = 0
        self._names: set[str] = set()
        self._name, self._value = "", bytearray()

    def feed(self, block: bytes) -> None:
        """Parse a block."""
        self._received += len(block)
        self._expected.check(self._received - FRAMING_BYTES)
        self._buffer += block
        while self._step():
            pass

    def finish(self) -> Form:
        """Return the form, once all blocks have been parsed."""
        if self._step != self._skip_epilogue:
            raise _malformed("it ends before its last boundary")
        if (param := self._expected.param) not in self._names:
            raise RequestError(
                f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter"
            )
        return self._form

    def _skip_preamble(self) -> bool:
        return self._take_until_delimiter() is not None

    def _take_until_delimiter(self) -> bytes | None:
        """Take what is before the next delimiter, which is taken as well, or nothing if there is none yet."""
        index = self._buffer.find(self._delimiter)
        if index < 0:
            return None
        content = bytes(self._buffer[:index])
        del self._buffer[: index + len(self._delimiter)]
        self._step = self._read_delimiters_end
        return content

    def _read_delimiters_end(self) -> bool:
        padding = len(self._buffer) - len(self._buffer.lstrip(b" \t"))
        end = bytes(self._buffer[padding : padding + 2])
        if padding > MAX_HEAD_BYTES or (len(end) == 2 and end not in {b"\r\n", b"--"}):
            raise _malformed("something follows a boundary")
        if len(end) < 2:
            return False
        del self._buffer[: padding + 2]
        self._step = self._read_head if end == b"\r\n" else self._skip_epilogue
        return True

    def _skip_epilogue(self) -> bool:
        self._buffer.clear()
        return False

    def _read_head(self) -> bool:
        """Read the headers of a part."""
        index = self._buffer.find(b"\r\n\r\n", 0, MAX_HEAD_BYTES)
        if index < 0 and len(self._buffer) < MAX_HEAD_BYTES and not self._buffer.startswith(b"\r\n"):
            return False
        lines = bytes(self._buffer[: max(index, 0)]).split(b"\r\n")
        found = [value for name, _, value in (line.partition(b":") for line in lines) if name.lower() == DISPOSITION]
        disposition = re.fullmatch(FORM_DATA, found[0].strip(b" \t")) if len(found) == 1 else None
        parameters = _parameters(disposition[1]) if disposition else {}
        if "name" not in parameters:
            raise _malformed("a part has no Content-Disposition that names its field")
        del self._buffer[: index + 4]
        self._begin(parameters["name"], parameters.get("filename"))
        self._step = self._read_content
        return True

    def _begin(self, name: str, filename: str | None) -> None:
        if name in self._names:
            raise RequestError(f"'{name[:64]}' occurs twice in the form.", param=name[:64])
        if len(self._names) == MAX_FIELDS:
            raise _malformed(f"it has more than {MAX_FIELDS} fields")
        self._names.add(name)
        self._name, self._value = name, bytearray()
        if name == self._expected.param:
            self._form.filename = filename

    def _read_content(self) -> bool:
        """Read what has arrived of a part, except what could be the beginning of a delimiter."""
        content = self._take_until_delimiter()
        if content is None:
            kept = min(len(self._buffer), len(self._delimiter) - 1)
            content = bytes(self._buffer[: len(self._buffer) - kept])
            del self._buffer[: len(content)]
        self._add(content)
        if self._step == self._read_content:
            return False
        if self._name != self._expected.param:
            self._form.fields[self._name] = self._value.decode(errors="replace")
        return True

    def _add(self, content: bytes) -> None:
        if self._name != self._expected.param:
            self._value += content
            if len(self._value) > MAX_FIELD_BYTES:
                name = self._name[:64]
                raise RequestError(f"'{name}' has more than {MAX_FIELD_BYTES:,} bytes.", param=name)
            return
        self._form.size += len(content)
        self._expected.check(self._form.size)
        self._form.beginning += content[: BEGINNING_BYTES - len(self._form.beginning)]
        self._target.write(content)


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
    """Return what separates the parts of a form."""
    kind = re.fullmatch(MULTIPART, headers.get("content-type", "").encode())
    boundary = _parameters(kind[1]).get("boundary", "") if kind else ""
    if not re.fullmatch(r"[ -~]{0,199}[!-~]", boundary):
        raise _malformed("its Content-Type is not multipart/form-data with a boundary")
    if headers.get("content-encoding", "identity").strip().lower() not in {"", "identity"}:
        raise _malformed("it has a Content-Encoding: send it as it is")
    return boundary.encode()


def _parameters(content: bytes) -> dict[str, str]:
    """Return the parameters of a header; those of a form are UTF-8 (RFC 7578, section 5.1.3)."""
    found = {}
    for name, value in re.findall(rb"(?s)" + PARAMETER, content):
        unquoted = re.sub(rb'\\(["\\])', rb"\1", value[1:-1]) if value.startswith(b'"') else value
        found[name.decode().lower()] = unquoted.decode(errors="replace")
    return found


def _malformed(failure: str) -> RequestError:
    return RequestError(f"We could not parse the form of your request: {failure}.", code="invalid_form")
