"""A job that is killed at random moments, and resumed, writes the bytes of one that is not.

BULK_ROWS=200000 makes it the proof of the documentation; BULK_TEXTS names a file of texts, one a line.
"""

import json
import os
import random
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from itertools import cycle, islice
from pathlib import Path

import pytest

from benchmarks.texts import Texts
from handler.artifacts.resolver import load
from handler.bulk import jobs
from handler.bulk.formats import split
from handler.bulk.jobs import Job
from handler.bulk.plan import Options, Shard, make_plan
from handler.bulk.previous import MANIFEST
from handler.settings import Settings
from handler.storage.uri import open_input, open_storage
from tests.emulator import ROOT, clean_environment
from tests.process import wait_until

ROWS = int(os.environ.get("BULK_ROWS", "3000"))
KILLS, SHARDS, PARTS = 10, 12, 5
SEED = 20261126
RESUME = """
import sys
from handler.bulk import merge
from handler.bulk.__main__ import main
merge.PART_BYTES = int(sys.argv[1])
sys.exit(main(["resume", sys.argv[2]]))
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write distinct texts, some of which are rejected, as JSON Lines."""
    path = tmp_path_factory.mktemp("killed") / "in.jsonl"
    listed = os.environ.get("BULK_TEXTS")
    texts = Path(listed).read_text().splitlines() if listed else Texts(None).sentences
    with path.open("w") as file:
        for number, text in enumerate(islice(cycle(texts), ROWS)):
            repeated = number // len(texts)
            distinct = f"{text} {repeated}" if repeated else text
            row = {"id": f"row-{number}", "text": "" if number % 997 == 0 else distinct, "number": number}
            file.write(f"{json.dumps(row, ensure_ascii=False)}\n")
    return path


def prepare(source: Path, output: Path) -> None:
    """Write a job and its plan, which has about SHARDS shards."""
    storage, entries = open_input(str(source))
    settings = Settings()
    artifacts = load(settings.models[0], settings)
    options = Options(
        model=artifacts.manifest.id,
        digest=artifacts.digest,
        dimensions=artifacts.manifest.dimensions,
        long_input="error",
    )
    plan = make_plan(storage, entries, options)
    ranges = split(storage, entries[0], "text", ROWS // SHARDS)
    shards = tuple(Shard(number, entries[0].name, *each) for number, each in enumerate(ranges))
    target = open_storage(str(output))
    jobs.create(target, Job(str(source), options))
    target.write(jobs.PLAN, replace(plan, shards=shards).to_json())


def resume(output: Path) -> "subprocess.Popen[str]":
    """Start a run in its own process, which writes about PARTS parts."""
    command = [sys.executable, "-c", RESUME, str(ROWS * 1500 // PARTS), str(output)]
    return subprocess.Popen(command, cwd=ROOT, env=clean_environment(), text=True, stderr=subprocess.PIPE)


def is_locked(output: Path, pid: int) -> bool:
    """Return whether a process has begun to write an output."""
    lock = output / "_job/lock"
    return lock.exists() and lock.read_text() == str(pid)


def written(output: Path) -> dict[str, bytes]:
    """Return an output's files, but for those of the job, and the manifest without the cost."""
    files = {path.relative_to(output): path for path in output.rglob("*") if path.is_file()}
    contents = {str(name): path.read_bytes() for name, path in files.items() if name.parts[0] != "_job"}
    contents[MANIFEST] = json.dumps(json.loads(contents[MANIFEST]) | {"cost": None}).encode()
    return contents


def test_a_job_that_is_killed_again_and_again_writes_the_same_bytes(tmp_path, source):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for output in (whole, killed):
        prepare(source, output)
    started = time.monotonic()
    with resume(whole) as process:
        assert process.wait() == 0, process.communicate()
    seconds = time.monotonic() - started
    moments, kills = random.Random(SEED), 0
    for _ in range(KILLS):
        with resume(killed) as process:
            wait_until(partial(is_locked, killed, process.pid))
            time.sleep(moments.uniform(0, 1.5 * seconds / KILLS))
            process.kill()
            kills += process.wait() != 0
    with resume(killed) as process:
        assert process.wait() == 0, process.communicate()
    first, second = written(whole), written(killed)
    assert sorted(first) == sorted(second)
    assert [name for name in first if first[name] != second[name]] == []
    manifest = json.loads(first[MANIFEST])
    sys.stdout.write(f"\n{ROWS:,} rows, {len(manifest['parts'])} parts, {seconds:.0f} s, killed {kills} times\n")
    assert kills > KILLS / 2
    assert manifest["rows_in"] == ROWS == manifest["rows_out"] + manifest["rejects"]
    assert manifest["rejects"] == -(-ROWS // 997)
    assert len(manifest["parts"]) > 1
    assert not list((killed / "_job/tmp").iterdir())
