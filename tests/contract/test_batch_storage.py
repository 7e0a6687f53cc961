"""Batches whose storage fails in each state, as a full disk and as S3 that responds 503: nothing is lost by it."""

import subprocess
import sys
from collections.abc import Iterator

import pytest

from handler.batches.folder import BatchFolder
from handler.bulk import batch_validate
from handler.bulk.batch_finish import finish
from handler.bulk.batch_shard import missing, run_shard
from handler.bulk.batch_validate import validate
from handler.errors import StorageUnavailableError
from handler.storage import s3_client
from handler.storage.s3 import S3Prefix
from tests import s3 as s3_server
from tests.emulator import ROOT
from tests.s3 import BUCKET, S3, Relay
from tests.unit.bulk.batches import NOW, cancel, catalog, create, create_of, jsonl, line, results

CONTENT = jsonl(line(f"id-{number}", "" if number == 3 else f"the {number}") for number in range(7))
IDS = [f"id-{number}" for number in range(7)]
# A limit on the size of files stands for the disk. Each size is reached by another file: the count of tries, the plan,
# the copy of the input, a shard, the output.
FULL = """
import resource, signal, sys
from pathlib import Path
from handler.bulk import batch_validate
from handler.bulk.batch_desk import Desk
from handler.storage.folder import Folder
from tests.unit.bulk.batches import NOW, SETTINGS, catalog
batch_validate.SHARD_INPUTS = 2
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
models = catalog()
def run():
    return Desk(Folder(Path(sys.argv[1])), SETTINGS, clock=lambda: NOW, _catalog=models).run()
_, most = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), most))
assert not run(), "nothing was refused"
resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
assert run()
"""


@pytest.mark.parametrize("size", [10, 200, 850, 1_000, 2_000])
def test_full_disk_only_delays_a_batch(tmp_path, size):
    folder = create(tmp_path, CONTENT)
    # without bytecode and coverage, whose files the limit would cut
    command = [sys.executable, "-B", "-c", FULL, str(tmp_path), str(size)]
    ran = subprocess.run(command, cwd=ROOT, env={}, check=False, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert "goes on later" in ran.stderr
    assert ended(folder) == ("completed", IDS)


def ended(folder: BatchFolder) -> tuple[str, list[str]]:
    """Return how a batch has ended, and the IDs in both files."""
    end = folder.end()
    assert end
    return end.ending, sorted(each["custom_id"] for lines in results(folder, end) for each in lines)


@pytest.fixture(scope="module")
def s3() -> Iterator[S3]:
    with s3_server.serve() as server:
        yield server


@pytest.fixture
def relay(s3: S3, monkeypatch: pytest.MonkeyPatch) -> Iterator[Relay]:
    monkeypatch.setattr(batch_validate, "SHARD_INPUTS", 2)
    monkeypatch.setattr(s3_client, "REQUEST_TRIES", 1)
    with s3_server.storage_relay(s3, monkeypatch) as running:
        yield running


MODELS = catalog()
PLACES = ["batch.json", "/input", "plan.json", "shards/1.", ".output", ".errors", "outcome.json", "/files/", "end.json"]


@pytest.mark.emulated
@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize("cancelled", [False, True])
def test_s3_that_fails_only_delays_a_batch(relay, where, cancelled):
    folder = create(S3Prefix(BUCKET, f"data/{where.strip('/')}{cancelled}"), CONTENT)
    relay.where = where
    for fault in (s3_server.error(503, "SlowDown"), None):
        relay.fault = fault
        try:
            validate(folder, MODELS, NOW)
            plan = folder.plan()
            assert plan
            for shard in missing(folder, plan):
                run_shard(folder, MODELS, shard.number, NOW)
            if cancelled:
                cancel(folder)
            finish(folder, NOW)
        except StorageUnavailableError:
            assert relay.fault
        else:
            assert not relay.fault
    assert ended(folder) == ("cancelled" if cancelled else "completed", IDS)


@pytest.mark.emulated
@pytest.mark.usefixtures("relay")
def test_object_of_the_bucket_may_be_the_input(s3):
    s3.client.put_object(Bucket=BUCKET, Key="inputs/in.jsonl", Body=CONTENT)
    s3.client.put_object(Bucket=BUCKET, Key="private/in.jsonl", Body=CONTENT)
    storage = S3Prefix(BUCKET, "data/objects")
    for uri, codes in (
        (f"s3://{BUCKET}/inputs/in.jsonl", []),
        (f"s3://{BUCKET}/inputs/gone.jsonl", ["Cannot find file"]),
        (f"s3://{BUCKET}/inputs/", ["Cannot find file"]),
        (f"s3://{BUCKET}/private/in.jsonl", ["Cannot read"]),
        (f"s3://{BUCKET}/inputs", ["Cannot read"]),
        ("s3://other/inputs/in.jsonl", ["Cannot read"]),
    ):
        folder = create_of(storage, uri)
        validate(folder, MODELS, NOW, f"s3://{BUCKET}/inputs/")
        end = folder.end()
        assert [
            error.message[: len(code)] for error, code in zip(end.errors if end else (), codes, strict=True)
        ] == codes
        assert bool(end) == bool(codes)


@pytest.mark.emulated
@pytest.mark.usefixtures("relay")
def test_files_of_owners_are_no_inputs_even_where_all_of_the_bucket_is():
    folder = create(S3Prefix(BUCKET, "data/owners"), CONTENT)
    key = f"data/owners/owners/{folder.owner}/files/{folder.record().input_file_id}"
    stranger = create_of(folder.storage, f"s3://{BUCKET}/{key}")
    validate(stranger, MODELS, NOW, f"s3://{BUCKET}/")
    end = stranger.end()
    assert end
    assert end.errors[0].message.startswith("Cannot read")
