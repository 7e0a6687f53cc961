"""Reports of the local server: beside the batches, until the receiver accepts them, and for a limited time."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from handler.batches.folder import END, BatchFolder
from handler.batches.records import BatchEnd
from handler.bulk import reports
from handler.bulk.reports import REPORT_SECONDS, Reports, unreported
from handler.bulk.webhooks import REPORTED
from handler.errors import BulkError
from handler.settings import Settings
from handler.storage.folder import Folder
from tests.unit.bulk.test_webhooks import BATCH, receiver, settings
from tests.webhooks import SECRET, Receiver

__all__ = ["receiver"]  # a fixture
NOW = 1_800_000_000


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reports, "FIRST_PAUSE_SECONDS", 0.01)


def end(path: Path, batch: str = BATCH, at: int = NOW) -> BatchFolder:
    folder = BatchFolder(Folder(path), "me", batch)
    folder.storage.write(folder.path(END), BatchEnd(at, "completed").to_json())
    return folder


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_report_is_repeated_until_it_is_taken_and_delays_no_other(receiver: Receiver, tmp_path: Path) -> None:
    receiver.statuses = [500, 200, 500, 200]
    running, folders = Reports(settings(receiver), lambda: NOW), [end(tmp_path), end(tmp_path, "batch_2")]
    for folder in folders:
        running.add(folder)
    wait_until(lambda: not running.waiting)
    assert len(receiver.received) == 4
    assert all(folder.storage.exists(folder.path(REPORTED)) for folder in folders)
    running.add(end(tmp_path, "batch_3"))  # later, in the same thread
    wait_until(lambda: not running.waiting)
    assert len(receiver.received) == 5


def test_a_report_is_repeated_after_storage_failed(
    receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    running, folder, read, failures = Reports(settings(receiver), lambda: NOW), end(tmp_path), Folder.read, [1, 1, 1]

    def fail(storage: Folder, name: str) -> bytes:
        if failures:
            failures.pop()
            raise BulkError("the storage fails")
        return read(storage, name)

    monkeypatch.setattr(Folder, "read", fail)
    running.add(folder)
    wait_until(lambda: not running.waiting)
    assert (len(receiver.received), failures) == (1, [])


def test_an_old_end_is_reported_no_more(tmp_path: Path) -> None:
    running = Reports(Settings(webhook_url="http://127.0.0.1:9", webhook_secret=SECRET), lambda: NOW)
    running.add(end(tmp_path, at=NOW - REPORT_SECONDS - 1))
    wait_until(lambda: not running.waiting)


def test_nothing_is_reported_without_a_url(tmp_path: Path) -> None:
    running = Reports(Settings())
    running.add(end(tmp_path))
    assert not running.waiting


def test_ends_are_found_that_an_earlier_process_did_not_report(tmp_path: Path) -> None:
    new = end(tmp_path)
    end(tmp_path, "batch_2", NOW - REPORT_SECONDS - 1)
    reported = end(tmp_path, "batch_3")
    reported.storage.write(reported.path(REPORTED), b"{}")
    assert [folder.id for folder in unreported(new.storage, NOW)] == [BATCH]
