"""A real S3 server on this machine, models published in it, and a relay in front of it that breaks what it is told."""

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import httpx2
from botocore.config import Config
from moto.server import ThreadedMotoServer

from handler.artifacts.manifest import MODEL_FILE, TOKENIZER_FILE, Reference
from handler.artifacts.resolver import Artifacts
from model_artifacts.recipe.publish import publish
from model_artifacts.recipe.seal import describe, seal

BUCKET = "artifacts"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}


@dataclass(frozen=True)
class S3:
    """A server with one bucket."""

    url: str
    client: Any

    def environment(self, url: str | None = None) -> dict[str, str]:
        """Return the variables that lead boto3 here, or to another URL."""
        return {**CREDENTIALS, "AWS_ENDPOINT_URL": url or self.url}

    def publish(self, folder: Path, artifacts: Artifacts, **changes: Any) -> Reference:
        """Seal a model under a name of its own, with changes to its manifest, and publish it; return it pinned."""
        manifest = replace(artifacts.manifest, **changes)
        files = {MODEL_FILE: artifacts.model, TOKENIZER_FILE: artifacts.tokenizer}
        described = {name: describe(content) for name, content in files.items()}
        (folder / manifest.id).mkdir(exist_ok=True)
        seal(folder / manifest.id, replace(manifest, files=described), files, {})
        return publish(self.client, folder / manifest.id, BUCKET)


def connect(url: str, config: Config | None = None) -> Any:
    """Return a client of a server."""
    return boto3.client(
        "s3",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=config,
    )


@contextmanager
def serve(host: str = "127.0.0.1") -> Iterator[S3]:
    """Serve S3 on a free port."""
    server = ThreadedMotoServer(host, 0, verbose=False)
    server.start()
    try:
        url = f"http://{host}:{server.get_host_and_port()[1]}"
        httpx2.post(f"{url}/moto-api/reset")  # servers of one process share what they hold
        client = connect(url)
        client.create_bucket(Bucket=BUCKET)
        yield S3(url, client)
        client.close()
    finally:
        server.stop()


@dataclass
class Relay:
    """What stands between a client and S3.

    fault      what happens to requests whose path holds `where`; None: nothing
    where      a part of the path
    times      how often it happens, before all is well
    requests   what was asked for, as `GET /path`
    closed     set at the end, so that no fault outlives its test
    """

    url: str = ""
    fault: Callable[["Exchange"], None] | None = None
    where: str = "blobs/"
    times: float = float("inf")
    requests: list[str] = field(default_factory=list)
    closed: threading.Event = field(default_factory=threading.Event)


class Exchange(BaseHTTPRequestHandler):
    """One connection; the relay's fault may answer in place of S3, with the answer of S3 at hand."""

    relay: Relay
    upstream: str
    status: int
    content: bytes
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Ask S3, and answer as it did, or as the fault does."""
        self.relay.requests.append(f"{self.command} {self.path}")
        connection = HTTPConnection(self.upstream.removeprefix("http://"))
        headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        connection.request(self.command, self.path, body, headers)
        response = connection.getresponse()
        self.status, self.content, self.answer_headers = response.status, response.read(), response.headers
        connection.close()
        if self.relay.fault and self.relay.where in self.path and self.relay.times > 0:
            self.relay.times -= 1
            self.relay.fault(self)
        else:
            self.answer(self.status, self.content)

    do_HEAD = do_PUT = do_GET  # noqa: N815 - as the base class has it

    def begin(self, status: int, length: int) -> None:
        """Send the head of an answer."""
        self.send_response_only(status)
        for name in ("content-range", "etag", "last-modified", "x-amz-checksum-sha256"):
            if name in self.answer_headers:
                self.send_header(name, self.answer_headers[name])
        self.send_header("content-length", str(length))
        self.end_headers()

    def answer(self, status: int, content: bytes) -> None:
        """Send an answer."""
        self.begin(status, int(self.answer_headers["content-length"]) if self.command == "HEAD" else len(content))
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Stay silent."""


@contextmanager
def relay(s3: S3) -> Iterator[Relay]:
    """Serve a relay in front of S3."""
    made = Relay()
    handler = type("Handler", (Exchange,), {"relay": made, "upstream": s3.url})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        server.handle_error = lambda *_: None  # type: ignore[method-assign] # clients go away here, and may
        made.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        try:
            yield made
        finally:
            made.closed.set()
            server.shutdown()


def error(status: int, code: str, **more: str) -> Callable[[Exchange], None]:
    """Return the fault of S3's own error."""
    fields = "".join(f"<{name}>{value}</{name}>" for name, value in more.items())
    content = f"<Error><Code>{code}</Code><Message>injected</Message>{fields}</Error>".encode()
    return lambda exchange: exchange.answer(status, content)


def reset(exchange: Exchange) -> None:
    """Reset the connection in mid-body."""
    exchange.begin(exchange.status, len(exchange.content))
    exchange.wfile.write(exchange.content[: len(exchange.content) // 2])
    exchange.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    exchange.connection.close()
    exchange.close_connection = True


def truncate(exchange: Exchange) -> None:
    """Close the connection before the body is whole."""
    exchange.begin(exchange.status, len(exchange.content))
    exchange.wfile.write(exchange.content[:-100])
    exchange.close_connection = True


def flip(exchange: Exchange) -> None:
    """Change a byte."""
    middle = len(exchange.content) // 2
    changed = bytes([exchange.content[middle] ^ 1])
    exchange.answer(exchange.status, exchange.content[:middle] + changed + exchange.content[middle + 1 :])


def drip(exchange: Exchange) -> None:
    """Send the body so slowly that it never ends, but never so slowly that a read times out."""
    exchange.begin(exchange.status, len(exchange.content))
    for byte in exchange.content:
        if exchange.relay.closed.wait(0.05):
            break
        exchange.wfile.write(bytes([byte]))
    exchange.close_connection = True


def stall(exchange: Exchange) -> None:
    """Send nothing more."""
    exchange.begin(exchange.status, len(exchange.content))
    exchange.relay.closed.wait(60)
    exchange.close_connection = True
