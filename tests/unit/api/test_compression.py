"""gzip bodies as clients and attackers send them, and the Accept-Encoding headers of RFC 9110."""

import gzip
import zlib

import pytest
from starlette.types import Scope

from handler.api.compression import accepts_gzip, compress, decode_body
from handler.errors import BodyEncodingError, BodyTooLargeError, RequestError
from tests.events import KINDS, event

BODY = b'{"model": "tiny", "input": "a"}'
LIMIT = 1_000


def scope(**headers: str) -> Scope:
    return {
        "type": "http",
        "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()],
    }


@pytest.mark.parametrize("coding", ["", "identity", "Identity", " "])
def test_plain_body_is_unchanged(coding):
    assert decode_body(scope(), BODY, LIMIT) is BODY
    assert decode_body(scope(content_encoding=coding), BODY, LIMIT) is BODY


@pytest.mark.parametrize("coding", ["gzip", "GZIP", "x-gzip", " gzip "])
def test_gzip_body_is_decompressed(coding):
    assert decode_body(scope(content_encoding=coding), gzip.compress(BODY), LIMIT) == BODY


@pytest.mark.parametrize("coding", ["br", "deflate", "zstd", "gzip, gzip", "gzip, identity", "gzip;q=1", "g\xfcip"])
def test_other_encodings_are_rejected(coding):
    with pytest.raises(BodyEncodingError, match="compress the body once, with gzip, or not at all"):
        decode_body(scope(content_encoding=coding), gzip.compress(BODY), LIMIT)


@pytest.mark.parametrize("offset", [-1, 0, 1])
def test_decompressed_body_is_limited(offset):
    compressed = gzip.compress(b"x" * (LIMIT + offset))
    if offset > 0:
        with pytest.raises(BodyTooLargeError, match="more than 1,000 bytes"):
            decode_body(scope(content_encoding="gzip"), compressed, LIMIT)
    else:
        assert len(decode_body(scope(content_encoding="gzip"), compressed, LIMIT)) == LIMIT + offset


def test_decompression_stops_at_the_limit(monkeypatch):
    taken = []

    class Recorder:
        def __init__(self, wbits: int) -> None:
            self.stream = zlib_decompressobj(wbits)

        def decompress(self, body: bytes, limit: int) -> bytes:
            taken.append(self.stream.decompress(body, limit))
            return taken[-1]

    zlib_decompressobj = zlib.decompressobj
    monkeypatch.setattr("handler.api.compression.zlib.decompressobj", Recorder)
    with pytest.raises(BodyTooLargeError):
        decode_body(scope(content_encoding="gzip"), gzip.compress(b"x" * 10_000_000), LIMIT)
    assert [len(decoded) for decoded in taken] == [LIMIT + 1]


WHOLE = gzip.compress(
    BODY, mtime=0
)  # the time would be in the names of tests, which have to be the same in every process


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "ends before its gzip stream does"),
        (WHOLE[:5], "ends before its gzip stream does"),
        (WHOLE[:-1], "ends before its gzip stream does"),
        (BODY, "is not valid gzip"),
        (WHOLE[1:], "is not valid gzip"),
        (zlib.compress(BODY), "is not valid gzip"),
        (WHOLE[:-5] + b"xxxxx", "is not valid gzip"),  # the check sum
        (WHOLE + b"x", "has more bytes after its gzip stream"),
        (WHOLE + WHOLE, "has more bytes after its gzip stream"),
        (WHOLE + gzip.compress(b"", mtime=0), "has more bytes after its gzip stream"),
    ],
)
def test_body_that_is_not_one_gzip_stream_is_rejected(body, message):
    with pytest.raises(RequestError, match=message) as raised:
        decode_body(scope(content_encoding="gzip"), body, LIMIT)
    assert raised.value.code == "invalid_gzip"


@pytest.mark.parametrize(
    ("accepted", "expected"),
    [
        *((each, True) for each in ("gzip", "GZIP", "gzip, deflate", "br,gzip", "*", "gzip;q=0.5", "gzip ; q=1.000")),
        *((each, True) for each in ("identity, gzip;q=0.001", "*;q=0, gzip", "gzip;q=x", "gzip;q=.5")),
        *((each, False) for each in ("", "identity", "br", "gzip;q=0", "gzip; q=0.0", "gzip;q=0.000, br", "*;q=0")),
        *((each, False) for each in ("gzip;q=0, *", "notgzip", "gzipx", "deflate", ",", ";q=1")),
    ],
)
def test_accept_encoding_is_read_as_rfc_9110_says(accepted, expected):
    assert accepts_gzip(scope(accept_encoding=accepted)) is expected


def test_absent_or_repeated_accept_encoding():
    assert not accepts_gzip(scope())
    repeated = {"type": "http", "headers": [(b"accept-encoding", b"br"), (b"accept-encoding", b"gzip")]}
    assert accepts_gzip(repeated)


@pytest.mark.parametrize("kind", KINDS)
def test_rest_apis_pass_no_compressed_response_on(kind):
    assert accepts_gzip({**scope(accept_encoding="gzip"), "aws.event": event(kind)}) == (kind != "rest-api-1.0")


def test_compressed_body_is_gzip():
    assert gzip.decompress(compress(BODY)) == BODY
