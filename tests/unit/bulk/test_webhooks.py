"""Reports of batches' ends: a real server on loopback receives them, and OpenAI's client checks them."""

import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import openai
import pytest

from handler.batches.folder import END, BatchFolder
from handler.batches.records import BatchEnd, Ending
from handler.bulk import webhooks
from handler.bulk.webhooks import WebhookError
from handler.settings import Settings
from handler.storage.folder import Folder

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BATCH = f"batch_{'0' * 32}"


@dataclass
class Receiver:
    """A server of webhooks, the statuses that it responds, and what it has received: path, headers and body."""

    url: str = ""
    statuses: list[int] = field(default_factory=list)
    received: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)

    @property
    def settings(self) -> Settings:
        return Settings(webhook_url=self.url, webhook_secret=SECRET)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    found = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            found.received.append((self.path, headers, self.rfile.read(int(headers["content-length"]))))
            self.send_response(found.statuses.pop(0) if found.statuses else 200)
            self.send_header("location", f"{found.url}/elsewhere")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        try:
            found.url = f"http://127.0.0.1:{server.server_port}/hooks?from=me"
            yield found
        finally:
            server.shutdown()


@pytest.fixture
def ended(tmp_path) -> BatchFolder:
    return end(tmp_path, "completed")


def end(tmp_path, ending: Ending) -> BatchFolder:
    """Return the folder of a batch that has ended."""
    folder = BatchFolder(Folder(tmp_path), "me", BATCH)
    folder.storage.write(folder.path(END), BatchEnd(1_700_000_000, ending).to_json())
    return folder


@pytest.mark.parametrize("ending", ["completed", "failed", "expired", "cancelled"])
def test_openais_client_unwraps_a_report(receiver, tmp_path, ending):
    webhooks.report(end(tmp_path, ending), receiver.settings, int(time.time()))
    ((path, headers, body),) = receiver.received
    assert path == "/hooks?from=me"
    client = openai.OpenAI(api_key="none", webhook_secret=SECRET)
    event = client.webhooks.unwrap(body, headers)
    assert (event.type, event.created_at) == (f"batch.{ending}", 1_700_000_000)
    assert event.data.id == BATCH  # type: ignore[union-attr]
    assert event.id == headers["webhook-id"] == f"evt_{'0' * 32}"


def test_openais_client_refuses_a_report_with_another_secret_or_body_or_from_another_time(receiver, ended):
    webhooks.report(ended, receiver.settings, int(time.time()))
    ((_, headers, body),) = receiver.received
    unwrap = openai.OpenAI(api_key="none", webhook_secret=SECRET).webhooks.unwrap
    for changed in ({"secret": SECRET.lower()}, {"payload": body + b" "}):
        with pytest.raises(openai.InvalidWebhookSignatureError):
            unwrap(**{"payload": body, "headers": headers} | changed)
    old_body, old = webhooks.signed({"id": "evt_1"}, SECRET, int(time.time()) - 3600)
    with pytest.raises(openai.InvalidWebhookSignatureError, match="too old"):
        unwrap(old_body, old)


@pytest.mark.parametrize("status", [301, 307, 400, 404, 500])
def test_a_report_is_repeated_with_its_id_until_it_is_taken_and_no_redirect_is_followed(receiver, ended, status):
    receiver.statuses = [status, 204]
    with pytest.raises(WebhookError, match=f"responded {status}"):
        webhooks.report(ended, receiver.settings, 1)
    for now in (2, 3):
        webhooks.report(ended, receiver.settings, now)
    assert [headers["webhook-timestamp"] for _, headers, _ in receiver.received] == ["1", "2"]
    assert len({headers["webhook-id"] for _, headers, _ in receiver.received}) == 1


def test_a_receiver_that_does_not_respond_is_given_up(ended, monkeypatch):
    monkeypatch.setattr(webhooks, "TIMEOUT_SECONDS", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        settings = Settings(webhook_url=f"http://127.0.0.1:{silent.getsockname()[1]}", webhook_secret=SECRET)
        with pytest.raises(WebhookError, match=r"cannot be reached \(TimeoutError\)"):
            webhooks.report(ended, settings, 1)
    for url in (settings.webhook_url, settings.webhook_url.replace("http:", "https:")):
        with pytest.raises(WebhookError, match=r"cannot be reached \(ConnectionRefusedError\)"):
            webhooks.report(ended, Settings(webhook_url=url, webhook_secret=SECRET), 1)


def test_nothing_is_reported_without_a_url_or_before_the_end(ended, receiver, tmp_path):
    webhooks.report(ended, Settings(), 1)
    webhooks.report(BatchFolder(Folder(tmp_path), "me", "batch_2"), receiver.settings, 1)
    assert not receiver.received
