"""Forms: parsed in blocks of any size, and refused in one line where they are no form with one file."""

import io
from typing import Any

import pytest

from handler.api.multipart import FRAMING_BYTES, ExpectedFile, Form, FormReader
from handler.errors import RequestError

BOUNDARY = b"b0undary"
TOO_LARGE = RequestError("too large")
FILE = (b'name="file"; filename="a.jsonl"', b"one\r\n--b0und\r\ntwo")


def form(*parts: tuple[bytes, bytes], end: bytes = b"--") -> bytes:
    """Return a form; a part is its disposition without `form-data; `, and its content."""
    written = [
        b"--%b\r\nContent-Disposition: form-data; %b\r\n\r\n%b\r\n" % (BOUNDARY, disposition, content)
        for disposition, content in parts
    ]
    return b"".join([*written, b"--", BOUNDARY, end, b"\r\n"])


def parse(content: bytes, block: int = 1 << 20, limit: int = 1000) -> tuple[Form, bytes]:
    target = io.BytesIO()
    reader = FormReader(BOUNDARY, ExpectedFile("file", limit, TOO_LARGE), target)
    for start in range(0, len(content), block):
        reader.feed(content[start : start + block])
    return reader.finish(), target.getvalue()


@pytest.mark.parametrize("block", [1, 2, 3, 7, 64, 1 << 20])
def test_blocks_of_any_size_give_the_same_form(block):
    found, content = parse(form((b'name="purpose"', b"batch"), FILE, (b"name=x", "é".encode())), block)
    assert (found.fields, found.filename, content) == ({"purpose": "batch", "x": "é"}, "a.jsonl", FILE[1])
    assert (found.size, found.beginning) == (len(FILE[1]), FILE[1])


@pytest.mark.parametrize(
    ("disposition", "filename"),
    [
        (b'name="file"', None),
        (b'name="file"; filename=""', ""),
        (b"name=file; filename=a.jsonl", "a.jsonl"),
        ('name="file"; filename="é ☃.jsonl"'.encode(), "é ☃.jsonl"),
        (b'name="file"; filename="\xff.jsonl"', "\ufffd.jsonl"),
        (b'name="file"; filename="../../a;b\\".jsonl"', '../../a;b".jsonl'),
        (b'NAME="file"; FILENAME="a"', "a"),
        (b'name="file" ; filename="a" ;', "a"),
        (b'filename="a"; name="file"', "a"),
        (b'name="file"; filename="a\\\\b"', "a\\b"),
        (b'name="file"; filename="a"; filename*=UTF-8\'\'b', "a"),
    ],
)
def test_names_are_kept_as_they_are(disposition, filename):
    assert parse(form((disposition, b"x")))[0].filename == filename


def test_only_the_first_bytes_are_kept():
    found, content = parse(form((FILE[0], b"x" * 100_000)), 1000, limit=200_000)
    assert (found.size, found.beginning, content) == (100_000, b"x" * (64 << 10), b"x" * 100_000)


def test_what_follows_the_end_is_ignored_and_counted():
    assert parse(form(FILE) + b"x" * 100)[1] == FILE[1]
    with pytest.raises(RequestError, match="too large"):
        parse(form(FILE) + b"x" * (FRAMING_BYTES + 1000))


@pytest.mark.parametrize("size", [999, 1000, 1001])
def test_size_is_limited(size):
    content = form((FILE[0], b"x" * size))
    if size <= 1000:
        assert parse(content)[0].size == size
        return
    for block in (1, 100, 1 << 20):
        with pytest.raises(RequestError, match="too large"):
            parse(content, block)


MANY: list[tuple[bytes, bytes]] = [(b"name=%d" % number, b"") for number in range(17)]


@pytest.mark.parametrize(
    ("content", "message", "param"),
    [
        (form(), "Missing required parameter: 'file'", "file"),
        (form((b'name="other"', b"x")), "Missing required parameter: 'file'", "file"),
        (form(FILE, FILE), "'file' occurs twice", "file"),
        (form(FILE, (b"name=a", b""), (b"name=a", b"")), "'a' occurs twice", "a"),
        (form(FILE, *MANY), "more than 16 fields", None),
        (form(FILE, (b"name=a", b"x" * 1025)), "'a' has more than 1,024 bytes", "a"),
        (form(FILE, (b"name=" + b"a" * 3000, b"x" * 1025)), "has more than 1,024 bytes", "a" * 64),
        (form((b"", b"x")), "no Content-Disposition that names its field", None),
        (form(FILE)[:-4], "ends before its last boundary", None),
        (form(FILE, end=b""), "ends before its last boundary", None),
        (b"", "ends before its last boundary", None),
        (b"x", "ends before its last boundary", None),
        (b"--other\r\n", "ends before its last boundary", None),
        (b"\r\n" * 100, "ends before its last boundary", None),
        (b"--b0undaryx\r\n", "something follows a boundary", None),
        (b"--b0undary" + b" " * 9000, "something follows a boundary", None),
        (b"--b0undary\r\n\r\nx\r\n--b0undary--", "no Content-Disposition that names its field", None),
        (b"--b0undary\r\n: x\r\n\r\nx\r\n--b0undary--", "no Content-Disposition that names its field", None),
        (b"--b0undary\r\n" + b"a: x\r\n" * 2000, "no Content-Disposition that names its field", None),
        (b"--b0undary\r\nContent-Disposition: attachment; name=file\r\n\r\n", "no Content-Disposition", None),
        (b'--b0undary\r\nContent-Disposition: form-data; name="file\r\n\r\n', "no Content-Disposition", None),
        (b"--b0undary\r\n" + b"Content-Disposition: form-data; name=file\r\n" * 2 + b"\r\n", "no Content-", None),
    ],
)
def test_what_is_no_form_with_one_file_is_refused(content, message, param):
    for block in (1, 1 << 20):
        with pytest.raises(RequestError, match=message) as raised:
            parse(content, block)
        assert raised.value.param == param
        assert len(raised.value.message) < 300


def test_a_boundary_may_have_spaces_after_it():
    padded = form(FILE).replace(BOUNDARY + b"\r\n", BOUNDARY + b" \t\r\n")
    for block in (1, 1 << 20):
        assert parse(padded, block)[1] == FILE[1]


def test_long_headers_take_little_time():
    """Each of these would take hours if a pattern could match it in many ways."""
    for disposition in (b"name=a" + b" " * 8000, b'name="' + b"\\" * 8000, b'; x="' * 2000, b"name=" + b"a; " * 2500):
        with pytest.raises(RequestError):
            parse(form((disposition, b"x")))


def test_nested_forms_are_content():
    inner: Any = form((b"name=inner", b"x"))
    assert parse(form((FILE[0], inner.replace(BOUNDARY, b"other"))))[1] == inner.replace(BOUNDARY, b"other")
