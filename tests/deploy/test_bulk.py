"""Bulk jobs on the state machine of a deployed stack: what it writes, what fails, and what a second run does."""

import json
import subprocess
from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.deploy import faults
from tests.deploy.aws import Aws
from tests.deploy.faults import Fault
from tests.deploy.stack import MODEL, Stack
from tests.emulator import ROOT

GOLDEN = json.loads((ROOT / "model_artifacts" / MODEL / "golden.json").read_text())["data"]
TEXTS = [each["text"] for each in GOLDEN]
FILES = 8  # each of them is a shard
STACK = "embeddings"


@dataclass(frozen=True)
class Bulk:
    """A stack with bulk jobs, and the folder of a job on this machine with the same input."""

    stack: Stack
    bucket: str
    desk: Path

    @property
    def aws(self) -> Aws:
        """The emulated AWS."""
        return self.stack.aws

    def make(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run a make target on the stack."""
        return make(self.aws.environment, *arguments, f"STACK={STACK}")

    def run(self, out: str) -> "subprocess.CompletedProcess[str]":
        """Embed the input to a new output."""
        return self.make("bulk", f"IN=s3://{self.bucket}/bulk/in/corpus", f"OUT={self.uri(out)}", "YES=1")

    def uri(self, out: str) -> str:
        """Return the URI of an output."""
        return f"s3://{self.bucket}/bulk/out/{out}"

    def files(self, out: str) -> dict[str, bytes]:
        """Return the files of an output, by name."""
        s3, prefix = self.aws.client("s3"), f"bulk/out/{out}/"
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
        keys = [each["Key"] for page in pages for each in page.get("Contents", [])]
        return {key.removeprefix(prefix): s3.get_object(Bucket=self.bucket, Key=key)["Body"].read() for key in keys}

    def executions(self) -> list[dict[str, Any]]:
        """Return the executions of the state machine, the latest first."""
        states = self.aws.client("stepfunctions")
        listed: list[dict[str, Any]] = states.list_executions(
            stateMachineArn=self.stack.outputs()["BulkStateMachineArn"]
        )["executions"]
        return sorted(listed, key=lambda each: each["startDate"], reverse=True)

    def shards_of_latest(self) -> dict[str, int]:
        """Return what the latest execution's map of shards counts."""
        states = self.aws.client("stepfunctions")
        runs = states.list_map_runs(executionArn=self.executions()[0]["executionArn"])["mapRuns"]
        (run,) = [each["mapRunArn"] for each in runs if "/shards:" in each["mapRunArn"]]
        counts: dict[str, int] = states.describe_map_run(mapRunArn=run)["itemCounts"]
        return counts

    def ask_for(self, *wanted: Fault) -> None:
        """Ask for faults, and no others."""
        faults.ask_for(self.aws.folder, *wanted)


def make(environment: dict[str, str], *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["make", "--silent", *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


def result(files: dict[str, bytes]) -> dict[str, bytes]:
    """Return what a job is for: everything but its own records, and the cost."""
    kept = {name: content for name, content in files.items() if not name.startswith("_job/")}
    manifest = json.loads(kept["_manifest.json"])
    del manifest["cost"]
    return kept | {"_manifest.json": json.dumps(manifest).encode()}


@pytest.fixture(scope="module")
def bulk(bulk_stack, tmp_path_factory) -> Bulk:
    stack = bulk_stack.stack
    corpus, desk = tmp_path_factory.mktemp("corpus"), tmp_path_factory.mktemp("desk") / "out"
    write_corpus(corpus)
    done = make(stack.aws.environment, "bulk", f"IN={corpus}", f"OUT={desk}", "YES=1")
    assert done.returncode == 0, done.stdout + done.stderr
    bucket = stack.outputs()["ArtifactBucketName"]
    for path in corpus.iterdir():
        stack.aws.client("s3").upload_file(str(path), bucket, f"bulk/in/corpus/{path.name}")
    return Bulk(stack, bucket, desk)


def write_corpus(folder: Path) -> None:
    """Write the golden texts, and rows that are rejected, as files of JSON Lines."""
    rows = [{"id": f"row-{number}", "text": text} for number, text in enumerate(TEXTS)]
    rows[5:5] = [{"id": "empty", "text": ""}, {"id": "null", "text": None}]
    for file in range(FILES):
        lines = [json.dumps(row, ensure_ascii=False) for row in rows[file::FILES]]
        (folder / f"{file}.jsonl").write_text("\n".join(lines) + "\n")


def test_job_that_meets_throttling_and_failures_writes_the_bytes_of_the_desk(bulk):
    bulk.ask_for(
        Fault("^(GET|PUT|POST) .*bulk/", "SlowDown", every=7),
        Fault("^PUT .*whole/_job/shards/.*-000003-.*parquet", "InternalError", status=507, times=1),  # boto3 gives up
        Fault('^invoke .*"number": 2.*"shard"', "Lambda.TooManyRequestsException", times=1),
    )
    done = bulk.run("whole")
    bulk.ask_for()
    assert done.returncode == 0, done.stdout + done.stderr
    on_desk = {str(path.relative_to(bulk.desk)): path.read_bytes() for path in bulk.desk.rglob("*") if path.is_file()}
    assert result(bulk.files("whole")) == result(on_desk)
    assert json.loads(bulk.files("whole")["_manifest.json"])["rejects"] == 2
    assert bulk.shards_of_latest()["succeeded"] == FILES


def test_vectors_are_those_of_the_api(bulk):
    name = next(name for name in bulk.files("whole") if name.startswith("part-"))
    rows = pq.read_table(bulk.desk / name).select(["text", "embedding"]).slice(0, 50).to_pydict()
    body = {"model": MODEL, "input": rows["text"]}
    headers = {"authorization": f"Bearer {bulk.stack.key.secret}"}
    data = bulk.stack.http.post(f"{bulk.stack.url}/embeddings", json=body, headers=headers).json()["data"]
    assert [array("f", each["embedding"]) for each in data] == [array("f", each) for each in rows["embedding"]]


def test_results_of_shards_have_no_texts(bulk):
    results = {name: content for name, content in bulk.files("whole").items() if name.startswith("_job/results/")}
    assert any(name.endswith("SUCCEEDED_0.json") for name in results)
    assert not any(text.encode() in content for text in TEXTS if len(text) > 20 for content in results.values())


def test_shard_that_always_fails_fails_the_job_and_a_resume_does_only_that_one(bulk):
    bulk.ask_for(Fault("^PUT .*resumed/_job/shards/.*-000005-", "AccessDenied", status=403))
    failed = bulk.run("resumed")
    bulk.ask_for()
    assert failed.returncode != 0, failed.stdout + failed.stderr
    assert "1 of 8 shards have failed (5)" in failed.stderr
    assert "S3 refuses access" in failed.stderr
    assert (bulk.shards_of_latest()["succeeded"], bulk.shards_of_latest()["failed"]) == (FILES - 1, 1)
    resumed = bulk.make("bulk-resume", f"OUT={bulk.uri('resumed')}")
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert bulk.shards_of_latest()["total"] == 1
    assert result(bulk.files("resumed")) == result(bulk.files("whole"))


def test_cancelled_job_is_resumed(bulk):
    out = f"OUT={bulk.uri('cancelled')}"
    command = ["make", "--silent", "bulk", f"IN=s3://{bulk.bucket}/bulk/in/corpus", out, "YES=1", f"STACK={STACK}"]
    bulk.ask_for(Fault('^invoke .*"number": [4-7].*/cancelled".*"shard"', "Lambda.TooManyRequestsException"))
    with subprocess.Popen(command, cwd=ROOT, env=bulk.aws.environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        printed = next(line for line in process.stderr if "4 of 8 done" in line)
        cancelled = bulk.make("bulk-cancel", out)
        assert cancelled.returncode == 0, cancelled.stdout + cancelled.stderr
        printed += process.stderr.read()
    bulk.ask_for()
    assert process.returncode != 0, printed
    assert "aborted" in printed
    assert (bulk.shards_of_latest()["succeeded"], bulk.shards_of_latest()["failed"]) == (4, 0)
    assert bulk.make("bulk-resume", out).returncode == 0
    assert bulk.shards_of_latest()["total"] == 4
    assert result(bulk.files("cancelled")) == result(bulk.files("whole"))


def test_function_may_read_no_other_input(bulk):
    job = json.loads(bulk.files("whole")["_job/job.json"]) | {"source": f"s3://{bulk.bucket}/elsewhere"}
    s3, states = bulk.aws.client("s3"), bulk.aws.client("stepfunctions")
    s3.put_object(Bucket=bulk.bucket, Key="elsewhere/rows.jsonl", Body=b'{"id": "1", "text": "hello"}')
    s3.put_object(Bucket=bulk.bucket, Key="bulk/out/denied/_job/job.json", Body=json.dumps(job))
    assert bulk.make("bulk-resume", f"OUT={bulk.uri('denied')}").returncode != 0
    failed = states.describe_execution(executionArn=bulk.executions()[0]["executionArn"])
    assert "S3 refuses access" in json.loads(failed["cause"])["errorMessage"]
