"""Publishing to a real S3 server: interrupted, repeated and concurrent."""

import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from handler.artifacts.manifest import MODEL_FILE
from handler.artifacts.resolver import load
from handler.errors import ArtifactError
from handler.settings import Settings
from model_artifacts.recipe.publish import PREFIX, PublishError, main, publish, published
from tests import s3 as s3_server
from tests import tiny
from tests.emulator import ROOT, clean_environment
from tests.s3 import BUCKET, S3

pytestmark = pytest.mark.emulated

MODEL = "all-MiniLM-L6-v2"
POINTER = f"{PREFIX}tiny/manifest.json"


@pytest.fixture(scope="module")
def server() -> Iterator[S3]:
    with s3_server.serve() as running:
        yield running


@pytest.fixture
def s3(server: S3) -> S3:
    server.reset()
    return server


@pytest.fixture
def folder(tmp_path) -> Path:
    return tiny.save_model(tmp_path)


def keys(s3: S3) -> set[str]:
    return {each["Key"] for each in s3.client.list_objects_v2(Bucket=BUCKET).get("Contents", [])}


def test_publish_stores_files_by_digest_and_a_pointer(s3, folder):
    pinned = publish(s3.client, folder, BUCKET)
    files = tiny.artifacts().manifest.files.values()
    blobs = {f"models/blobs/sha256/{file.sha256}" for file in files}
    assert keys(s3) == blobs | {POINTER, f"models/tiny/manifests/{pinned.digest}.json"}
    assert str(pinned) == f"s3://{BUCKET}/models/tiny@sha256:{pinned.digest}"
    assert next(published(s3.client, BUCKET)).startswith(f"* {pinned}  0.0 MB  ")


def test_publishing_again_uploads_nothing(s3, folder):
    publish(s3.client, folder, BUCKET)
    with s3_server.relay(s3) as relay:
        publish(client(relay.url), folder, BUCKET)
    assert {each.split()[0] for each in relay.requests} == {"HEAD"}


def test_dry_run_uploads_nothing_and_prints_the_keys(s3, folder, capsys):
    pinned = publish(s3.client, folder, BUCKET, dry_run=True)
    assert keys(s3) == set()
    assert f"models/tiny/manifests/{pinned.digest}.json" in capsys.readouterr().out


def test_pointer_is_written_last_and_the_next_run_completes_an_interrupted_one(s3, folder):
    with s3_server.relay(s3) as relay:
        relay.where, relay.fault = "manifests/", s3_server.error(500, "InternalError")
        with pytest.raises(ClientError, match=r"InternalError|500"):
            publish(client(relay.url), folder, BUCKET)
    assert POINTER not in keys(s3)
    publish(s3.client, folder, BUCKET)
    assert POINTER in keys(s3)


def test_concurrent_runs_leave_a_valid_pointer(s3, folder, tmp_path):
    other = tmp_path / "again" / "tiny"
    shutil.copytree(folder, other)
    (other / "manifest.json").write_text((other / "manifest.json").read_text() + "\n")
    barrier = threading.Barrier(4)

    def run(source: Path) -> None:
        barrier.wait()
        publish(client(s3.url), source, BUCKET)

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(run, source) for source in (folder, other) * 2]:
            done.result()
    pointer = s3.client.get_object(Bucket=BUCKET, Key=POINTER)["Body"].read()
    assert pointer in {(source / "manifest.json").read_bytes() for source in (folder, other)}
    assert sorted(line[0] for line in published(s3.client, BUCKET)) == [" ", "*"]


def test_current_model_is_the_one_published_last(s3, folder):
    first = publish(s3.client, folder, BUCKET)
    (folder / "manifest.json").write_text((folder / "manifest.json").read_text() + "\n")
    second = publish(s3.client, folder, BUCKET)
    assert first.digest != second.digest
    (current,) = (line for line in published(s3.client, BUCKET) if line.startswith("*"))
    assert str(second) in current


def test_damaged_file_is_not_published(s3, folder):
    (folder / MODEL_FILE).write_bytes(b"\0" + (folder / MODEL_FILE).read_bytes()[1:])
    with pytest.raises(ArtifactError, match="damaged, its SHA-256 is not the manifest's"):
        publish(s3.client, folder, BUCKET)
    assert keys(s3) == set()


def test_object_that_differs_from_its_digest_is_an_error(s3, folder):
    key = f"models/blobs/sha256/{tiny.artifacts().manifest.files[MODEL_FILE].sha256}"
    s3.client.put_object(Bucket=BUCKET, Key=key, Body=b"half")
    with pytest.raises(PublishError, match="does not match the digest in its name; delete it"):
        publish(s3.client, folder, BUCKET)
    assert POINTER not in keys(s3)


@pytest.mark.parametrize(
    ("refusal", "error", "message"),
    [
        (s3_server.error(409, "ConditionalRequestConflict"), PublishError, "run it again"),
        (s3_server.error(403, "AccessDenied"), ClientError, "AccessDenied"),
    ],
)
def test_refused_upload_leaves_the_pointer_alone(s3, folder, refusal, error, message):
    missing = s3_server.error(404, "NoSuchKey")
    with s3_server.relay(s3) as relay:
        relay.fault = lambda exchange: (refusal if exchange.command == "PUT" else missing)(exchange)
        with pytest.raises(error, match=message):
            publish(client(relay.url), folder, BUCKET)
    assert POINTER not in keys(s3)


def test_command_publishes_a_model_that_load_reads(s3, folder, monkeypatch, tmp_path):
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "model_artifacts.recipe.publish", "--bucket", *arguments]
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)

    environment = clean_environment(**s3.environment())
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert run(BUCKET).stdout == f"no model in s3://{BUCKET}/models/\n"
    uploaded = run(BUCKET, "--model", str(folder))
    assert {line.split()[1] for line in uploaded.stderr.splitlines()} == keys(s3) - {POINTER}
    output = uploaded.stdout
    assert "deploy it: sam deploy --parameter-overrides Models=s3://" in output
    pinned = output.split()[1]
    assert load(pinned, Settings(artifacts=tmp_path / "nothing")).model == tiny.artifacts().model
    assert run(BUCKET).stdout.startswith(f"* {pinned}")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--bucket", "s3://b", "--model", "tiny"], "make publish: MODEL is 'tiny': there is no such model; choose "),
        (["--bucket", "s3://b", "--model", MODEL], "make publish: BUCKET is 's3://b': write only the bucket's name"),
        (["--bucket", "missing", "--model", MODEL], "make publish: BUCKET is 'missing': there is no such bucket"),
        (["--bucket", "missing", "--model", MODEL, "--dry-run"], "make publish: BUCKET is 'missing': there is no "),
        (["--bucket", "missing"], "make models: BUCKET is 'missing': there is no such bucket"),
    ],
)
def test_command_names_the_invalid_variable_in_one_line(s3, monkeypatch, capsys, arguments, message):
    for name, value in s3.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "argv", ["publish", *arguments])
    with pytest.raises(SystemExit) as failed:
        main()
    assert str(failed.value).startswith(message)
    assert "\n" not in str(failed.value)
    assert capsys.readouterr().out == ""


def test_refused_access_to_the_bucket_is_reported(s3, monkeypatch):
    with s3_server.relay(s3) as relay:
        for name, value in s3.environment(relay.url).items():
            monkeypatch.setenv(name, value)
        relay.where, relay.fault = "", s3_server.error(403, "AccessDenied")
        monkeypatch.setattr(sys, "argv", ["publish", "--bucket", BUCKET, "--model", MODEL])
        with pytest.raises(SystemExit, match=r"^make publish: .*Forbidden"):
            main()


def client(url: str) -> object:
    return s3_server.connect(url, Config(retries={"total_max_attempts": 1}))
