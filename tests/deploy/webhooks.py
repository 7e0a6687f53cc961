"""A receiver of webhooks, which may refuse the first ones."""

import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import openai

SECRET = f"whsec_{'Ab0+' * 8}"


@dataclass
class Receiver:
    """The port it listens on, the statuses that it responds, and the headers and bodies that it has received."""

    port: int = 0
    statuses: list[int] = field(default_factory=list)
    received: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    def wait_for(self, batch: str, kind: str, seconds: float = 60) -> int:
        """Wait until the end of a batch was reported and accepted; return how many reports of it have come."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.statuses == [] and (events := self.events(batch)):
                assert events[-1] == kind
                return len(events)
            time.sleep(0.1)
        raise TimeoutError(f"no {kind} of {batch}: {self.received}")

    def events(self, batch: str) -> list[str]:
        """Return the types of the events of a batch, as OpenAI's client unwraps them."""
        client = openai.OpenAI(api_key="none", webhook_secret=SECRET)
        events = [client.webhooks.unwrap(body, headers) for headers, body in list(self.received)]
        return [event.type for event in events if event.data.id == batch]  # type: ignore[union-attr]


@contextmanager
def receive(address: str, certificate: Path | None = None) -> Iterator[Receiver]:
    """Receive webhooks at an address; with the certificate `server.pem` in a folder, over TLS."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = self.rfile.read(int(headers["content-length"]))
            status = receiver.statuses.pop(0) if receiver.statuses else 200
            receiver.received.append((headers, body))
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    with ThreadingHTTPServer((address, 0), Handler) as server:
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate / "server.pem", certificate / "server.key")
            server.socket = context.wrap_socket(server.socket, server_side=True)
        receiver.port = server.server_port
        threading.Thread(target=server.serve_forever, args=(0.05,)).start()
        try:
            yield receiver
        finally:
            server.shutdown()
