"""The executor on this machine: interruptions, locks, rejects, and parts as it goes."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from itertools import count

import pytest

from handler.bulk import desk, merge
from handler.bulk.background import SWITCH_SECONDS
from handler.bulk.chunk import Chunk
from handler.bulk.previous import MANIFEST
from handler.bulk.progress import Progress
from handler.errors import BulkError
from handler.storage.uri import open_storage
from tests.unit.bulk.data import texts, work, write_jsonl, written


@pytest.fixture
def source(tmp_path):
    return write_jsonl(tmp_path / "in.jsonl", texts(3000))


def test_a_run_that_was_stopped_goes_on_and_writes_the_same_bytes(tmp_path, source, monkeypatch):
    whole, stopped = (work(tmp_path / each, source, 300) for each in ("whole", "stopped"))
    monkeypatch.setattr(merge, "PART_BYTES", 100_000)
    manifest = desk.run(whole, "")
    assert len(manifest.parts) > 2
    chunks = count(1)

    def interrupt(_progress: Progress, _chunk: Chunk) -> None:
        if next(chunks) == 9:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Progress, "update", interrupt)
        with pytest.raises(KeyboardInterrupt):
            desk.run(stopped, "")
    assert not (tmp_path / "stopped/out/_manifest.json").exists()
    again = desk.run(stopped, "")
    assert replace(again, cost=manifest.cost) == manifest
    assert manifest.rows_in == 3000
    first, second = (written(tmp_path / each / "out") for each in ("whole", "stopped"))
    assert first.keys() == second.keys()
    assert all(second[name] == content for name, content in first.items() if name != MANIFEST)


def test_a_job_that_is_done_is_not_done_again(tmp_path, source):
    job = work(tmp_path, source)
    manifest = desk.run(job, "")
    source.unlink()
    assert replace(desk.run(job, ""), cost=manifest.cost) == manifest


def test_threads_switch_often_during_a_run_only(tmp_path, source, monkeypatch):
    before, during = sys.getswitchinterval(), []
    monkeypatch.setattr(Progress, "update", lambda *_: during.append(sys.getswitchinterval()))
    desk.run(work(tmp_path, source), "")
    assert during
    assert during == pytest.approx([SWITCH_SECONDS] * len(during))
    assert SWITCH_SECONDS < before == sys.getswitchinterval()


def test_too_many_rejects_end_a_run_before_its_end(tmp_path):
    rows = [{"text": "" if n < 5 else "food"} for n in range(3000)]
    job = work(tmp_path, write_jsonl(tmp_path / "in.jsonl", rows), 300)
    with pytest.raises(BulkError, match="5 rows were rejected, and MAX_REJECTS=4 allows fewer"):
        desk.run(job, "4")
    assert len(list((tmp_path / "out/_job/shards").glob("*.json"))) == 1
    assert desk.run(job, "5").rejects == 5


LOCKING = """
import sys, time
from handler.bulk import desk
from handler.bulk.chunk import Chunk
from handler.bulk.previous import MANIFEST
from handler.bulk.progress import Progress
from handler.storage.uri import open_storage
with desk.locked(open_storage(sys.argv[1])):
    print("locked", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def locking(tmp_path):
    """Another process that writes to the output."""
    with subprocess.Popen([sys.executable, "-c", LOCKING, str(tmp_path)], stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"locked\n"
        yield process
        process.kill()


def test_two_runs_do_not_write_to_one_folder(tmp_path, locking):
    with (
        pytest.raises(BulkError, match=f"process {locking.pid} writes there"),
        desk.locked(open_storage(str(tmp_path))),
    ):
        pass


def test_a_run_can_be_cancelled_and_its_lock_ends_with_it(tmp_path, locking):
    target = open_storage(str(tmp_path))
    desk.cancel(target)
    assert locking.wait(10) == -signal.SIGTERM
    with pytest.raises(BulkError, match="no run writes there"):
        desk.cancel(target)
    with desk.locked(target):
        assert (tmp_path / "_job/lock").read_text() == str(os.getpid())
        (tmp_path / "_job/lock").write_text("")
        with pytest.raises(BulkError, match="a run begins there; try again"):
            desk.cancel(target)


def test_a_folder_without_a_run_is_not_made(tmp_path):
    with pytest.raises(BulkError, match="no run writes there"):
        desk.cancel(open_storage(str(tmp_path / "typo")))
    assert not list(tmp_path.iterdir())


def test_what_a_run_that_was_killed_left_unfinished_is_deleted(tmp_path):
    left = tmp_path / "_job/tmp/left"
    left.parent.mkdir(parents=True)
    left.touch()
    with desk.locked(open_storage(str(tmp_path))):
        assert not left.exists()


def test_a_bucket_has_no_lock():
    bucket = open_storage("s3://bucket/prefix")
    with desk.locked(bucket):
        pass
    with pytest.raises(BulkError, match="press Ctrl-C where it runs"):
        desk.cancel(bucket)


def test_a_folder_that_may_not_be_written_is_an_error_of_one_line(tmp_path):
    (tmp_path / "_job").write_text("a file where a folder must be")
    with pytest.raises(BulkError, match="_job"), desk.locked(open_storage(str(tmp_path))):
        pass
