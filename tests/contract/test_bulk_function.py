"""The function of bulk jobs under Lambda's Runtime Interface Emulator, with a local S3 server."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace

import pytest

from handler.bulk import desk
from handler.bulk.jobs import Job, create, load_embedder, open_plan
from handler.bulk.shard import Work
from handler.settings import Settings
from handler.storage.uri import Storage, open_input, open_storage
from tests import s3 as s3_server
from tests import tiny
from tests.emulator import run
from tests.s3 import BUCKET, S3, Relay, error
from tests.unit.bulk.data import OPTIONS, texts, write_jsonl, written

pytestmark = pytest.mark.emulated

IN, OUT = f"s3://{BUCKET}/in/rows.jsonl", f"s3://{BUCKET}/out"
MARKER = "xyzzymarker"


@pytest.fixture(scope="module")
def s3() -> Iterator[S3]:
    with s3_server.serve() as server:
        yield server


@pytest.fixture
def relay(s3, monkeypatch) -> Iterator[Relay]:
    with s3_server.storage_relay(s3, monkeypatch) as running:
        yield running


@pytest.fixture(scope="module")
def model(s3, tmp_path_factory) -> str:
    """Publish the tiny model; return its pinned reference."""
    return str(s3.publish(tmp_path_factory.mktemp("models"), tiny.artifacts()))


@pytest.fixture
def job(s3, model, tmp_path) -> Job:
    """Upload an input; return a job over it."""
    rows = [*texts(500), {"id": "empty", "text": ""}, {"id": MARKER, "text": f"the food {MARKER}"}]
    s3.client.upload_file(str(write_jsonl(tmp_path / "rows.jsonl", rows)), BUCKET, "in/rows.jsonl")
    return Job(IN, replace(OPTIONS, digest=model.partition("@sha256:")[2]))


@pytest.fixture
def target(relay, request) -> Storage:  # noqa: ARG001 - the environment leads to the relay
    return open_storage(f"{OUT}/{request.node.name}")


@pytest.fixture
def start(s3, relay, model, tmp_path):
    (tmp_path / "tmp").mkdir()
    environment = {**s3.environment(relay.url), "MODELS": model, "TMPDIR": str(tmp_path / "tmp")}
    return lambda **more: run(
        None, tmp_path / "log", _HANDLER="handler.bulk.main.lambda_handler", **environment, **more
    )


def test_steps_write_what_the_desk_writes(start, job, target, model, tmp_path):
    create(target, job)
    out = {"out": target.uri}
    with start() as function:
        planned = function.invoke({"step": "plan", **out})
        assert (planned["shards"], planned["tolerated"]) == (1, 100)
        assert (planned["bucket"], planned["source"]) == (BUCKET, f"s3://{BUCKET}/in")
        assert target.uri == f"s3://{BUCKET}/{planned['results'].removesuffix('/_job/results')}"
        (item,) = json.loads(target.read("_job/shards.json"))
        assert planned["list"].endswith("/_job/shards.json")
        shard = function.invoke({"step": "shard", **out, "source": planned["source"], "item": item})
        assert (shard["rows"], shard["rejects"]) == (502, 1)
        assert function.invoke({"step": "group", **out, "concurrency": 1000})["concurrency"] == 300
        (item,) = json.loads(target.read("_job/groups.json"))
        assert function.invoke({"step": "part", **out, "item": item})["rows"] == 502
        finished = function.invoke({"step": "finish", **out})
        assert (finished["rows_in"], finished["rows_out"]) == (502, 501)
    (counted,) = [record for record in function.records() if "_aws" in record]
    assert (counted["Rows"], counted["Rejects"], counted["step"]) == ([502], [1], "shard")
    here = open_storage(str(tmp_path / "desk"))
    source, entries = open_input(job.source)
    plan = open_plan(source, entries, here, job.options)
    desk.run(Work(source, here, plan, load_embedder(job.options, Settings(models=(model,)))), "")
    for name, content in written(tmp_path / "desk").items():
        assert name == "_manifest.json" or target.read(name) == content
    assert not list((tmp_path / "tmp").iterdir())


def test_an_error_that_would_occur_again_is_a_bulk_error(start, target):
    with start() as function:
        failed = function.invoke({"step": "plan", "out": target.uri})
        assert (failed["errorType"], "there is no job" in failed["errorMessage"]) == ("BulkError", True)
        assert function.invoke({"step": "walk", "out": target.uri})["errorType"] == "BulkError"


def test_a_failure_of_s3_is_one_that_may_pass(start, job, target, relay):
    create(target, job)
    relay.where, relay.fault, relay.times = "in/rows.jsonl", error(507, "InternalError"), 1  # boto3 does not retry it
    with start() as function:
        failed = function.invoke({"step": "plan", "out": target.uri})
        assert failed["errorType"] == "StorageUnavailableError", failed
        assert function.invoke({"step": "plan", "out": target.uri})["shards"] == 1


def test_an_unexpected_error_says_only_where_it_is(start, job, target):
    create(target, job)
    target.write("_job/plan.json", f'{{"text": "{MARKER}'.encode())
    with start() as function:
        failed = function.invoke({"step": "group", "out": target.uri, "concurrency": 1})
    log = function.log_path.read_text()
    assert failed["errorType"] == "StepError"
    assert "JSONDecodeError" in failed["errorMessage"]
    assert "JSONDecodeError at " in log
    assert MARKER not in json.dumps(failed) + log


def test_a_step_that_takes_too_long_ends_with_a_remedy(start, job, target, relay):
    create(target, job)
    relay.where, relay.fault = "in/rows.jsonl", lambda exchange: exchange.relay.closed.wait(6)
    with start(AWS_LAMBDA_FUNCTION_TIMEOUT="34") as function:  # of which it keeps 30
        failed = function.invoke({"step": "plan", "out": target.uri})
    assert failed["errorType"] == "BulkError", failed
    assert re.search(": plan was not done in [1-5] seconds; deploy with a higher BulkMemory", failed["errorMessage"])
