"""Bytes on a real connection: for what no client would send."""

import socket
from collections.abc import Iterable
from dataclasses import dataclass
from http.client import HTTPResponse
from urllib.parse import urlsplit

LOAD_TIMEOUT_SECONDS = 10


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes


def connect(url: str) -> socket.socket:
    """Return a connection to a server."""
    address = urlsplit(url)
    return socket.create_connection((address.hostname, address.port), LOAD_TIMEOUT_SECONDS)


def send(url: str, content: bytes | Iterable[bytes], method: str = "GET") -> Answer:
    """Send bytes, or pieces of them, and read one answer, which after HEAD has no body.

    The server may stop listening before the end.
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
            return Answer(
                response.status, {name.lower(): value for name, value in response.headers.items()}, response.read()
            )


def request(method: str, target: str, *headers: str | bytes, body: bytes = b"") -> bytes:
    """Return the bytes of a request, its headers as they are given, after the ones that every request needs."""
    lines = [f"{method} {target} HTTP/1.1", "host: here", f"content-length: {len(body)}", *headers]
    return b"\r\n".join(line if isinstance(line, bytes) else line.encode() for line in lines) + b"\r\n\r\n" + body


def chunked(body: bytes, size: int = 1 << 16) -> Iterable[bytes]:
    """Yield a body in chunks, with its end."""
    for start in range(0, len(body), size):
        chunk = body[start : start + size]
        yield b"%x\r\n%b\r\n" % (len(chunk), chunk)
    yield b"0\r\n\r\n"
