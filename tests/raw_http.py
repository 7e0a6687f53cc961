"""Raw HTTP over a socket, for requests that no client library sends."""

import json
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from http.client import HTTPResponse
from urllib.parse import urlsplit

TIMEOUT_SECONDS = 10


@dataclass(frozen=True)
class Response:
    """A response: its status, its headers with lower-case names, and its body."""

    status: int
    headers: dict[str, str]
    body: bytes


def connect(url: str) -> socket.socket:
    """Open a connection to the server at `url`."""
    address = urlsplit(url)
    return socket.create_connection((address.hostname, address.port), TIMEOUT_SECONDS)


def send(url: str, content: bytes | Iterable[bytes], method: str = "GET") -> Response:
    """Send `content`, whole or in pieces, and read one response; `method` tells whether it has a body.

    The server may close the connection before it has read everything.
    """
    with connect(url) as connection:
        try:
            for piece in [content] if isinstance(content, bytes) else content:
                connection.sendall(piece)
        except (BrokenPipeError, ConnectionResetError):
            pass
        response = HTTPResponse(connection, method=method)
        response.begin()
        with response:
            return Response(
                response.status, {name.lower(): value for name, value in response.headers.items()}, response.read()
            )


def request(method: str, target: str, *headers: str | bytes, body: bytes = b"") -> bytes:
    """Return the bytes of a request: `host` and `content-length`, then the given headers unchanged, then the body."""
    lines = [f"{method} {target} HTTP/1.1", "host: localhost", f"content-length: {len(body)}", *headers]
    return b"\r\n".join(line if isinstance(line, bytes) else line.encode() for line in lines) + b"\r\n\r\n" + body


def chunked(body: bytes, size: int = 1 << 16) -> Iterable[bytes]:
    """Yield a body in chunked transfer encoding, with the final chunk."""
    for start in range(0, len(body), size):
        chunk = body[start : start + size]
        yield b"%x\r\n%b\r\n" % (len(chunk), chunk)
    yield b"0\r\n\r\n"


def long_body(texts: int) -> bytes:
    """Return the body of a request that takes about ten milliseconds for each text."""
    inputs = [f"{number} " + "word " * 200 for number in range(texts)]
    return json.dumps({"model": "text-embedding-ada-002", "input": inputs, "encoding_format": "base64"}).encode()
