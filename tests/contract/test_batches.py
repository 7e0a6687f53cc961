"""Batches on this machine, by the official client: the server, the process beside it, or both are killed."""

import json
import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import openai
import pytest

from tests import process, tiny
from tests.process import Service, wait_until

REQUESTS = 40
FINAL = {"completed", "failed", "expired", "cancelled"}
# Shards of two requests, each of which takes a while, and no pause after a failure: so a kill finds each state.
SLOW = """
import os, sys, time
from handler.bulk import batch_desk, batch_shard, batch_validate
batch_validate.SHARD_INPUTS = 2
write = batch_shard._write
batch_shard._write = lambda *arguments: [time.sleep(0.03), write(*arguments)][1]
batch_desk.main()
"""
SETUP = f"""
import handler.worker
handler.worker.FIRST_PAUSE_SECONDS = 0.05
handler.worker.COMMAND = ["-c", {SLOW!r}]
"""


@contextmanager
def serve(folder: Path, setup: str = SETUP) -> Iterator[tuple[Service, openai.OpenAI]]:
    """Run the service on a folder of files and batches, with the tiny model."""
    models = folder / "models"
    if not models.exists():
        tiny.save_model(models)
    options = ("--quiet", "--data", str(folder / "data"))
    with (
        process.serve(setup, *options, MODELS=f"{models}/tiny") as service,
        openai.OpenAI(base_url=f"{service.url}/v1", api_key="none", max_retries=0) as client,
    ):
        yield service, client


def requests(count: int = REQUESTS) -> bytes:
    """Return requests; every fifth is refused."""
    lines = (
        {
            "custom_id": f"id-{number}",
            "method": "POST",
            "url": "/v1/embeddings",
            "body": {
                "model": "tiny",
                "input": "" if number % 5 == 4 else f"the {number} food",
                "encoding_format": "base64",
            },
        }
        for number in range(count)
    )
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def create(client: openai.OpenAI, content: bytes | None = None) -> Any:
    file = client.files.create(file=("in.jsonl", content or requests()), purpose="batch")
    return client.batches.create(input_file_id=file.id, endpoint="/v1/embeddings", completion_window="24h")


def wait(client: openai.OpenAI, batch: Any, seconds: float = 60) -> Any:
    """Return a batch once it has ended."""
    ends = time.monotonic() + seconds
    while (found := client.batches.retrieve(batch.id)).status not in FINAL:
        assert time.monotonic() < ends, found
        time.sleep(0.02)
    return found


def completed(client: openai.OpenAI, batch: Any) -> int:
    """Return how many requests of a batch are done."""
    counts = client.batches.retrieve(batch.id).request_counts
    return counts.completed if counts else 0


def contents(client: openai.OpenAI, batch: Any) -> list[dict[str, Any]]:
    """Return the lines of both files, without what has the batch's ID in it."""
    lines = []
    for file_id in (batch.output_file_id, batch.error_file_id):
        for text in client.files.content(file_id).text.splitlines() if file_id else ():
            line = json.loads(text)
            del line["id"]
            if line["response"]:
                del line["response"]["request_id"]
            lines.append(line)
    return lines


def child_of(service: Service) -> int | None:
    """Return the process ID of the process that runs batches, if it runs."""
    with suppress(OSError):
        children = Path(f"/proc/{service.process.pid}/task/{service.process.pid}/children").read_text().split()
        for task in Path(f"/proc/{service.process.pid}/task").iterdir():
            children += (task / "children").read_text().split()
        return int(children[0]) if children else None
    return None


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Return the lines of a batch that is not disturbed."""
    with serve(tmp_path_factory.mktemp("expected")) as (_, client):
        batch = wait(client, create(client))
        assert (batch.status, batch.request_counts.completed, batch.request_counts.failed) == ("completed", 32, 8)
        return contents(client, batch)


@pytest.mark.parametrize("victims", [["server"], ["child"], ["server", "child"], ["child", "server"]], ids="-".join)
def test_batch_survives_kills(tmp_path, expected, victims):
    moments, batch, kills = random.Random(str(victims)), None, 0
    for _ in range(6):
        with serve(tmp_path) as (service, client):
            batch = batch or create(client)
            with suppress(AssertionError):  # the batch may have ended
                wait_until(lambda: child_of(service) is not None, 2)
            time.sleep(moments.uniform(0, 0.6))
            for victim in victims:
                pid = service.process.pid if victim == "server" else child_of(service)
                if pid:
                    os.kill(pid, signal.SIGKILL)
                    kills += 1
    with serve(tmp_path) as (_, client):
        batch = wait(client, batch)
        assert (batch.status, contents(client, batch)) == ("completed", expected)
    assert kills >= 2 * len(victims)  # a fast machine ends the batch before the last of them


def test_the_process_ends_with_the_server_and_when_no_batch_waits(tmp_path):
    with serve(tmp_path) as (service, client):
        assert child_of(service) is None
        create(client)
        wait_until(lambda: child_of(service) is not None)
        child = child_of(service)
        service.process.terminate()
        assert service.process.wait(10) == 128 + signal.SIGTERM
        wait_until(lambda: not Path(f"/proc/{child}").exists(), 5)
    with serve(tmp_path) as (service, client):
        wait_until(lambda: all(each.status == "completed" for each in client.batches.list()), 60)
        wait_until(lambda: child_of(service) is None)


def test_the_service_says_where_the_data_is(tmp_path):
    with serve(tmp_path) as (service, _):
        assert service.process.stdout
        lines = [service.process.stdout.readline() for _ in range(5)]
    assert lines[4] == f"Files and batches are in {tmp_path}/data; DATA=FOLDER is another place.\n"


def test_process_that_always_crashes_ends_the_batch(tmp_path):
    crash = SETUP.replace("[time.sleep(0.03), write(*arguments)][1]", "os.kill(os.getpid(), 9)")
    crash += "\nhandler.worker.MAX_PAUSE_SECONDS = 0.05\n"
    with serve(tmp_path, crash) as (_, client):
        batch = wait(client, create(client), 120)
        lines = contents(client, batch)
    assert (batch.status, batch.request_counts.failed, batch.output_file_id) == ("completed", REQUESTS, None)
    assert {line["error"]["code"] for line in lines} == {"internal_error"}


def test_counts_move_and_a_batch_is_cancelled_in_seconds(tmp_path):
    with serve(tmp_path) as (_, client):
        batch = create(client, requests(2_000))
        assert (batch.status, batch.request_counts.total) == ("validating", 0)
        wait_until(lambda: completed(client, batch) > 0)
        running = client.batches.retrieve(batch.id)
        assert running.request_counts
        assert (running.status, running.request_counts.total, running.in_progress_at is not None) == (
            "in_progress",
            2_000,
            True,
        )
        assert client.batches.cancel(batch.id).status == "cancelling"
        started = time.monotonic()
        cancelled = wait(client, batch)
        assert time.monotonic() - started < 10
        lines = contents(client, cancelled)
    assert cancelled.status == "cancelled"
    assert (len(lines), len({line["custom_id"] for line in lines})) == (2_000, 2_000)
    assert cancelled.request_counts.completed >= running.request_counts.completed
    assert {line["error"]["code"] for line in lines if line["error"]} == {"batch_cancelled"}
