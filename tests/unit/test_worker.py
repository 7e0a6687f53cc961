"""The process that runs batches: one at a time, again when a batch waits, and with pauses when it fails."""

import errno
import subprocess
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from handler import worker
from handler.worker import BatchWorker
from tests.process import wait_until

COUNT = """
import os, sys
from pathlib import Path
with (Path(sys.argv[1]) / "runs").open("a") as file:
    file.write("x")
"""


def runs(folder: Path) -> int:
    path = folder / "runs"
    return len(path.read_text()) if path.exists() else 0


def has_run(folder: Path, times: int) -> bool:
    return runs(folder) == times


def start(folder: Path, monkeypatch: pytest.MonkeyPatch, ending: str) -> BatchWorker:
    monkeypatch.setattr(worker, "COMMAND", ["-S", "-c", COUNT + ending])
    monkeypatch.setattr(worker, "FIRST_PAUSE_SECONDS", 0.5)
    return BatchWorker(folder, quiet=True)


def test_it_starts_when_a_batch_waits_and_again_for_the_next_one(tmp_path, monkeypatch):
    running = start(tmp_path, monkeypatch, "")
    time.sleep(0.1)
    assert runs(tmp_path) == 0
    for number in (1, 2):
        running.start("batch")
        wait_until(partial(has_run, tmp_path, number))
        time.sleep(0.1)
    assert runs(tmp_path) == 2
    running.stop()


def test_it_starts_for_batches_of_an_earlier_server(tmp_path, monkeypatch):
    (tmp_path / "owners").mkdir()
    running = start(tmp_path, monkeypatch, "")
    wait_until(lambda: runs(tmp_path) == 1)
    running.stop()


def test_a_process_that_always_fails_does_not_spin_however_often_it_is_wanted(tmp_path, monkeypatch):
    running = start(tmp_path, monkeypatch, "sys.exit(1)")
    ends = time.monotonic() + 1.4  # failures at 0, 0.5 and 1.5
    while time.monotonic() < ends:
        running.start("batch")
        time.sleep(0.01)
    assert 1 <= runs(tmp_path) <= 2
    running.stop()


def test_it_ends_with_its_standard_input(tmp_path, monkeypatch):
    running = start(tmp_path, monkeypatch, "os.read(0, 1)\n")
    running.start("batch")
    wait_until(lambda: runs(tmp_path) == 1)
    running.stop()
    process = running._process
    assert process
    assert process.wait(5) in {0, -9}


def test_it_starts_later_when_the_system_refuses_a_process(tmp_path, monkeypatch, caplog):
    popen, refusals = subprocess.Popen, [OSError(errno.EMFILE, "Too many open files")]

    def refuse(*arguments: Any, **options: Any) -> "subprocess.Popen[bytes]":
        if refusals:
            raise refusals.pop()
        return popen(*arguments, **options)

    monkeypatch.setattr(subprocess, "Popen", refuse)
    running = start(tmp_path, monkeypatch, "")
    running.start("batch")
    wait_until(lambda: runs(tmp_path) == 1)
    assert "cannot be started: [Errno 24] Too many open files" in caplog.text
    running.stop()
