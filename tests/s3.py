"""A local S3 server, models published to it, and a relay in front of it that injects faults."""

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
import pytest
from botocore.config import Config
from moto.server import ThreadedMotoServer

from handler.artifacts.manifest import MODEL_FILE, TOKENIZER_FILE, Reference
from handler.artifacts.resolver import Artifacts
from handler.storage import s3_client
from model_artifacts.recipe.publish import publish
from model_artifacts.recipe.save import describe, save

Fault = Callable[["Exchange"], None]
BUCKET = "artifacts"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}


@dataclass(frozen=True)
class S3:
    """A server with one bucket, and a client of it."""

    url: str
    client: Any

    def environment(self, url: str | None = None) -> dict[str, str]:
        """Return the environment variables that make boto3 use this server, or the one at `url`."""
        return {**CREDENTIALS, "AWS_ENDPOINT_URL": url or self.url}

    def reset(self) -> None:
        """Remove everything except an empty bucket."""
        httpx2.post(f"{self.url}/moto-api/reset")
        self.client.create_bucket(Bucket=BUCKET)

    def publish(self, folder: Path, artifacts: Artifacts, **changes: Any) -> Reference:
        """Save a model in `folder`, with changes to its manifest, and publish it; return its pinned reference."""
        manifest = replace(artifacts.manifest, **changes)
        files = {MODEL_FILE: artifacts.model[:], TOKENIZER_FILE: artifacts.tokenizer}
        described = {name: describe(content) for name, content in files.items()}
        (folder / manifest.id).mkdir(exist_ok=True)
        save(folder / manifest.id, replace(manifest, files=described), files, {})
        return publish(self.client, folder / manifest.id, BUCKET)


def connect(url: str, config: Config | None = None) -> Any:
    """Return a boto3 client of the server at `url`."""
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
    """Run an S3 server on a free port."""
    server = ThreadedMotoServer(host, 0, verbose=False)
    server.start()
    try:
        url = f"http://{host}:{server.get_host_and_port()[1]}"
        running = S3(url, connect(url))
        running.reset()  # all servers in one process share their state
        yield running
        running.client.close()
    finally:
        server.stop()


@dataclass
class Relay:
    """A proxy between a client and S3 that injects faults.

    fault      handles the requests whose path contains `where`, in place of S3; None: no fault
    where      part of a path
    times      the number of requests that get the fault; later ones get S3's response
    requests   the requests so far, as `GET /path`
    closed     set at the end, so that no fault outlives its test
    """

    url: str = ""
    fault: Fault | None = None
    where: str = "blobs/"
    times: float = float("inf")
    requests: list[str] = field(default_factory=list)
    closed: threading.Event = field(default_factory=threading.Event)


class Exchange(BaseHTTPRequestHandler):
    """One connection. `status`, `content` and `upstream_headers` are S3's response, which a fault may use."""

    relay: Relay
    upstream: str
    status: int
    content: bytes
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Forward the request to S3; send S3's response, or let the fault handle it."""
        self.relay.requests.append(f"{self.command} {self.path}")
        connection = HTTPConnection(self.upstream.removeprefix("http://"))
        headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        connection.request(self.command, self.path, body, headers)
        response = connection.getresponse()
        self.status, self.content, self.upstream_headers = response.status, response.read(), response.headers
        connection.close()
        if self.relay.fault and self.relay.where in self.path and self.relay.times > 0:
            self.relay.times -= 1
            self.relay.fault(self)
        else:
            self.respond(self.status, self.content)

    do_HEAD = do_DELETE = do_PUT = do_POST = do_GET  # noqa: N815 - the base class's naming

    def send_head(self, status: int, length: int) -> None:
        """Send the status line and the headers of a response."""
        self.send_response_only(status)
        for name in ("content-range", "etag", "last-modified", "x-amz-checksum-sha256"):
            if name in self.upstream_headers:
                self.send_header(name, self.upstream_headers[name])
        self.send_header("content-length", str(length))
        self.end_headers()

    def respond(self, status: int, content: bytes) -> None:
        """Send a response."""
        self.send_head(status, int(self.upstream_headers["content-length"]) if self.command == "HEAD" else len(content))
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@contextmanager
def relay(s3: S3) -> Iterator[Relay]:
    """Run a relay in front of S3."""
    running = Relay()
    handler = type("Handler", (Exchange,), {"relay": running, "upstream": s3.url})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        server.handle_error = lambda *_: None  # type: ignore[method-assign] # clients may disconnect
        running.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        try:
            yield running
        finally:
            running.closed.set()
            server.shutdown()


def error(status: int, code: str, **more: str) -> Fault:
    """Return a fault that responds with an S3 error."""
    fields = "".join(f"<{name}>{value}</{name}>" for name, value in more.items())
    content = f"<Error><Code>{code}</Code><Message>injected</Message>{fields}</Error>".encode()
    return lambda exchange: exchange.respond(status, content)


def reset(exchange: Exchange) -> None:
    """Reset the connection in the middle of the body."""
    exchange.send_head(exchange.status, len(exchange.content))
    exchange.wfile.write(exchange.content[: len(exchange.content) // 2])
    exchange.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    exchange.connection.close()
    exchange.close_connection = True


def truncate(exchange: Exchange) -> None:
    """Close the connection before the end of the body."""
    exchange.send_head(exchange.status, len(exchange.content))
    exchange.wfile.write(exchange.content[:-100])
    exchange.close_connection = True


def shorten(exchange: Exchange) -> None:
    """Respond with half of the body, and with a content-length that says so."""
    exchange.respond(exchange.status, exchange.content[: len(exchange.content) // 2])


def flip(exchange: Exchange) -> None:
    """Change one byte of the body."""
    middle = len(exchange.content) // 2
    changed = bytes([exchange.content[middle] ^ 1])
    exchange.respond(exchange.status, exchange.content[:middle] + changed + exchange.content[middle + 1 :])


def drip(exchange: Exchange) -> None:
    """Send the body too slowly to finish in time, but fast enough that no single read times out."""
    exchange.send_head(exchange.status, len(exchange.content))
    for byte in exchange.content:
        if exchange.relay.closed.wait(0.05):
            break
        exchange.wfile.write(bytes([byte]))
    exchange.close_connection = True


def stall(exchange: Exchange) -> None:
    """Send the headers, then nothing."""
    exchange.send_head(exchange.status, len(exchange.content))
    exchange.relay.closed.wait(60)
    exchange.close_connection = True


# For a test of `fault` and `times`: S3 fails so often before it succeeds.
with_transient_faults = pytest.mark.parametrize(
    ("fault", "times"),
    [
        (reset, 2),
        (truncate, 2),
        (shorten, 2),
        (stall, 1),
        (error(500, "InternalError"), 2),
        (error(503, "SlowDown"), 2),
    ],
    ids=["reset", "truncated", "shortened", "stalled", "500", "503"],
)


@contextmanager
def storage_relay(s3: S3, monkeypatch: pytest.MonkeyPatch) -> Iterator[Relay]:
    """Run a relay in front of S3, and lead the client of handler.storage through it."""
    s3_client.make_client.cache_clear()
    with relay(s3) as running:
        for name, value in s3.environment(running.url).items():
            monkeypatch.setenv(name, value)
        yield running
    s3_client.make_client.cache_clear()
