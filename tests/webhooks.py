"""A receiver of webhooks on this machine, which may refuse the first ones."""

import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import openai
from openai.types.webhooks import UnwrapWebhookEvent

SECRET = f"whsec_{'Ab0+' * 8}"


@dataclass(frozen=True)
class Report:
    """A request that it has received, and the status that it responded."""

    status: int
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    """Its port, the secret that signs reports, the statuses that it responds, and what it has received."""

    port: int = 0
    secret: str = SECRET
    statuses: list[int] = field(default_factory=list)
    received: list[Report] = field(default_factory=list)

    def unwrap(self, report: Report) -> UnwrapWebhookEvent:
        """Return the event of a report, as OpenAI's client unwraps it."""
        client = openai.OpenAI(api_key="none", webhook_secret=self.secret)
        return client.webhooks.unwrap(report.body, report.headers)

    def wait_for(self, batch: str, kind: str, seconds: float = 60) -> list[Report]:
        """Wait until a report of the end of a batch was accepted; return all reports of it."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            reports = [each for each in list(self.received) if batch.encode() in each.body]
            if any(each.status == 200 for each in reports):
                assert {self.unwrap(each).type for each in reports} == {kind}
                return reports
            time.sleep(0.1)
        raise TimeoutError(f"no {kind} of {batch}: {self.received}")


@contextmanager
def receive(address: str, certificate: Path | None = None) -> Iterator[Receiver]:
    """Receive webhooks at an address; with the certificate `server.pem` in a folder, over TLS."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = self.rfile.read(int(headers["content-length"]))
            status = receiver.statuses.pop(0) if receiver.statuses else 200
            receiver.received.append(Report(status, self.path, headers, body))
            self.send_response(status)
            self.send_header("location", "/elsewhere")  # of a redirect, which is not to be followed
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
