"""Reports of batches' ends: a real server on loopback receives them, and OpenAI's client checks them."""

import socket
import time
from collections.abc import Iterator

import openai
import pytest

from handler.batches.folder import END, BatchFolder
from handler.batches.records import BatchEnd, Ending
from handler.bulk import webhooks
from handler.bulk.webhooks import WebhookError
from handler.settings import Settings
from handler.storage.folder import Folder
from tests import webhooks as webhooks_server
from tests.webhooks import SECRET, Receiver

BATCH = f"batch_{'0' * 32}"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with webhooks_server.receive("127.0.0.1") as running:
        yield running


def settings(receiver: Receiver) -> Settings:
    return Settings(webhook_url=f"http://127.0.0.1:{receiver.port}/hooks?from=me", webhook_secret=SECRET)


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
    webhooks.report(end(tmp_path, ending), settings(receiver), int(time.time()))
    (received,) = receiver.received
    assert received.path == "/hooks?from=me"
    event = receiver.unwrap(received)
    assert (event.type, event.created_at) == (f"batch.{ending}", 1_700_000_000)
    assert event.data.id == BATCH
    assert event.id == received.headers["webhook-id"] == f"evt_{'0' * 32}"


def test_openais_client_refuses_a_report_with_another_secret_or_body_or_from_another_time(receiver, ended):
    webhooks.report(ended, settings(receiver), int(time.time()))
    (received,) = receiver.received
    unwrap = openai.OpenAI(api_key="none", webhook_secret=SECRET).webhooks.unwrap
    for changed in ({"secret": SECRET.lower()}, {"payload": received.body + b" "}):
        with pytest.raises(openai.InvalidWebhookSignatureError):
            unwrap(**{"payload": received.body, "headers": received.headers} | changed)
    old_body, old = webhooks.signed({"id": "evt_1"}, SECRET, int(time.time()) - 3600)
    with pytest.raises(openai.InvalidWebhookSignatureError, match="too old"):
        unwrap(old_body, old)


@pytest.mark.parametrize("status", [301, 307, 400, 404, 500])
def test_a_report_is_repeated_with_its_id_until_it_is_taken_and_no_redirect_is_followed(receiver, ended, status):
    receiver.statuses = [status, 204]
    with pytest.raises(WebhookError, match=f"responded {status}"):
        webhooks.report(ended, settings(receiver), 1)
    for now in (2, 3):
        webhooks.report(ended, settings(receiver), now)
    assert [each.headers["webhook-timestamp"] for each in receiver.received] == ["1", "2"]
    assert len({each.headers["webhook-id"] for each in receiver.received}) == 1


def test_a_receiver_that_does_not_respond_is_given_up(ended, monkeypatch):
    monkeypatch.setattr(webhooks, "TIMEOUT_SECONDS", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silence = Settings(webhook_url=f"http://127.0.0.1:{silent.getsockname()[1]}", webhook_secret=SECRET)
        with pytest.raises(WebhookError, match=r"cannot be reached \(TimeoutError\)"):
            webhooks.report(ended, silence, 1)
    for url in (silence.webhook_url, silence.webhook_url.replace("http:", "https:")):
        with pytest.raises(WebhookError, match=r"cannot be reached \(ConnectionRefusedError\)"):
            webhooks.report(ended, Settings(webhook_url=url, webhook_secret=SECRET), 1)


def test_nothing_is_reported_without_a_url_or_before_the_end(ended, receiver, tmp_path):
    webhooks.report(ended, Settings(), 1)
    webhooks.report(BatchFolder(Folder(tmp_path), "me", "batch_2"), settings(receiver), 1)
    assert not receiver.received
