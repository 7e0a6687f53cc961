"""gzip: request bodies that a client has compressed, and large responses to clients that accept it."""

import re
import zlib

from starlette.types import Scope

from handler.errors import BodyEncodingError, BodyTooLargeError, RequestError

GZIP_FORMAT = 16 + zlib.MAX_WBITS  # zlib's name for gzip with the largest window
# 147 MB of floats per second, to 0.44 of their size; level 4 takes twice as long for 0.41, level 6 six times for 0.39.
# A response below 64 KiB saves less than a round trip. Figures are in benchmarks/README.md.
LEVEL, MIN_BYTES = 1, 64 << 10
CODING = re.compile(rb"([^\s,;]+)\s*(?:;\s*q=([01](?:\.\d*)?))?")


def decode_body(scope: Scope, body: bytes, limit: int) -> bytes:
    """Return a request's body as its Content-Encoding says: as it is, or decompressed.

    Raises:
        BodyEncodingError: it has another encoding than gzip.
        BodyTooLargeError: it has more than `limit` bytes; decompression stops there.
        RequestError: it is not one complete gzip stream.
    """
    coding = dict(scope["headers"]).get(b"content-encoding")
    if coding is None or (coding := coding.strip().lower()) in {b"", b"identity"}:
        return body
    if coding not in {b"gzip", b"x-gzip"}:
        raise BodyEncodingError
    stream = zlib.decompressobj(GZIP_FORMAT)
    try:
        decoded = stream.decompress(body, limit + 1)
    except zlib.error:
        raise _invalid("is not valid gzip, which its Content-Encoding says it is") from None
    if len(decoded) > limit:
        raise BodyTooLargeError(limit)
    if not stream.eof:
        raise _invalid("ends before its gzip stream does")
    if stream.unused_data:
        raise _invalid("has more bytes after its gzip stream, which must be the only one")
    return decoded


def _invalid(failure: str) -> RequestError:
    return RequestError(f"The request's body {failure}.", code="invalid_gzip")


def accepts_gzip(scope: Scope) -> bool:
    """Return whether a request's Accept-Encoding allows gzip (RFC 9110, section 12.5.3), and its gateway passes it on.

    A compressed body leaves Lambda as base64. HTTP APIs and function URLs, whose events have the version 2.0, decode
    it; REST APIs only do so for the media types that they are configured for.
    """
    event = scope.get("aws.event")
    if event is not None and event.get("version") != "2.0":
        return False
    accepted = b",".join(value for name, value in scope["headers"] if name == b"accept-encoding")
    weights = dict(CODING.findall(accepted.lower()))
    weight = weights.get(b"gzip", weights.get(b"*", b"0"))
    return not weight or float(weight) > 0


def compress(body: bytes) -> bytes:
    """Return a body as gzip."""
    stream = zlib.compressobj(LEVEL, wbits=GZIP_FORMAT)
    return stream.compress(body) + stream.flush()
