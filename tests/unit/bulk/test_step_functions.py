"""The executor on AWS, with real clients of a local server that responds as AWS does."""

import io
import json
from collections.abc import Iterator
from typing import Any

import pytest

from handler.bulk import step_functions
from handler.bulk.step_functions import EXECUTION, Stack, State
from handler.errors import BulkError
from handler.storage.uri import open_storage
from tests.unit.bulk.aws import Aws, serve, stack_xml

STACK = Stack("embeddings", "arn:machine", "s3://data/in/", "s3://data/out/", concurrency=200, reserved=False)
RUNNING = {"status": "RUNNING", "startDate": 1.0}


@pytest.fixture
def aws(monkeypatch) -> Iterator[Aws]:
    monkeypatch.setattr(step_functions, "POLL_SECONDS", 0.01)
    with serve() as running:
        for name, value in running.environment.items():
            monkeypatch.setenv(name, value)
        yield running


def map_run(label: str, **counts: int) -> dict[str, Any]:
    """Return what DescribeMapRun responds."""
    names = ("pending", "running", "succeeded", "failed", "timedOut", "aborted", "total", "resultsWritten")
    every = {name: counts.get(name, 0) for name in names}
    return {
        "mapRunArn": f"arn:mapRun:machine/{label}:1",
        "status": "RUNNING",
        "itemCounts": every,
        "executionCounts": every,
    }


def runs(*labels: str) -> dict[str, Any]:
    """Return what ListMapRuns responds, the latest last."""
    return {
        "mapRuns": [
            {"mapRunArn": f"arn:mapRun:machine/{label}:1", "startDate": float(when)}
            for when, label in enumerate(labels)
        ]
    }


def test_a_stack_is_what_its_outputs_and_parameters_say(aws):
    aws.responses["DescribeStacks"] = [stack_xml()]
    assert step_functions.find_stack("embeddings") == STACK


def test_a_stack_without_bulk_jobs_is_refused(aws):
    aws.responses["DescribeStacks"] = [stack_xml({"BaseUrl": "https://x/v1"})]
    with pytest.raises(
        BulkError, match="stack 'embeddings' has no bulk jobs: run sam build and sam deploy with Bulk=true"
    ):
        step_functions.find_stack("embeddings")


@pytest.mark.parametrize(
    ("source", "output", "words"),
    [
        (
            "s3://data/elsewhere/x",
            "s3://data/out/x",
            "IN is s3://data/elsewhere/x, and stack 'embeddings' may only use s3://data/in/",
        ),
        ("s3://data/in/x", "s3://data/in/x", "OUT is s3://data/in/x"),
        ("s3://data/input/x", "s3://data/out/x", "IN is s3://data/input/x"),
    ],
)
def test_only_the_stacks_prefixes_are_used(source, output, words):
    with pytest.raises(BulkError, match=words):
        STACK.check(source, output)


@pytest.mark.parametrize("previous", ["s3://data/elsewhere", "/work/out", "s3://data/outer"])
def test_an_earlier_output_must_be_where_the_stack_may_read(previous):
    with pytest.raises(BulkError, match=rf"PREVIOUS is {previous}, .* only use s3://data/out/\.\.\. and s3://data/in/"):
        STACK.check("s3://data/in/x", "s3://data/out/x", previous)


@pytest.mark.usefixtures("aws")
def test_a_missing_region_is_one_line(monkeypatch):
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    with pytest.raises(BulkError, match="You must specify a region"):
        step_functions.state("arn:x")


@pytest.mark.parametrize(("available", "fits"), [(1000, True), (201, True), (200, False), (10, False)])
def test_environments_remain_for_others(aws, available, fits):
    aws.responses["GetAccountSettings"] = [{"AccountLimit": {"UnreservedConcurrentExecutions": available}}]
    if fits:
        STACK.check("s3://data/in", "s3://data/out/x")
    else:
        with pytest.raises(BulkError, match=f"BulkMaxConcurrency=200, and the account has {available} environments"):
            STACK.check("s3://data/in", "s3://data/out/x")


def test_an_execution_is_started_and_remembered(aws, tmp_path):
    target = open_storage(str(tmp_path))
    aws.responses["StartExecution"] = [{"executionArn": "arn:first", "startDate": 1.0}]
    with pytest.raises(BulkError, match="no execution was started for it"):
        step_functions.latest(target)
    assert step_functions.start(STACK, target) == step_functions.latest(target) == "arn:first"
    (request,) = [request for operation, request in aws.requests if operation == "StartExecution"]
    assert (request["stateMachineArn"], json.loads(request["input"])) == ("arn:machine", {"out": target.uri})
    aws.responses["DescribeExecution"] = [RUNNING]
    with pytest.raises(BulkError, match="the job is running: make bulk-status"):
        step_functions.start(STACK, target)
    aws.responses |= {
        "DescribeExecution": [{"status": "FAILED", "startDate": 1.0}],
        "StartExecution": [{"executionArn": "arn:second", "startDate": 1.0}],
    }
    assert step_functions.start(STACK, target) == "arn:second"
    assert json.loads(target.read(EXECUTION)) == {"execution": "arn:second"}


def test_the_latest_map_is_described(aws):
    aws.responses |= {"DescribeExecution": [RUNNING], "ListMapRuns": [{"mapRuns": []}]}
    assert step_functions.state("arn:x").describe() == "plan: running"
    aws.responses |= {
        "ListMapRuns": [runs("shards")],
        "DescribeMapRun": [map_run("shards", total=1200, succeeded=1000, running=150, failed=2)],
    }
    assert step_functions.state("arn:x").describe() == "shards: 1,000 of 1,200 done, 150 running, 2 FAILED"
    aws.responses |= {
        "ListMapRuns": [runs("shards", "parts")],
        "DescribeMapRun": [map_run("parts", total=3, running=3)],
    }
    assert step_functions.state("arn:x").describe() == "parts: 0 of 3 done, 3 running"


@pytest.mark.parametrize("terminal", [False, True])
def test_an_execution_is_watched_until_it_has_succeeded(aws, terminal):
    aws.responses |= {
        "DescribeExecution": [RUNNING, RUNNING, RUNNING, {"status": "SUCCEEDED", "startDate": 1.0}],
        "ListMapRuns": [{"mapRuns": []}, runs("shards")],
        "DescribeMapRun": [map_run("shards", total=2, running=2)],
    }
    output = io.StringIO()
    output.isatty = lambda: terminal  # type: ignore[method-assign]
    step_functions.watch("arn:x", output)
    lines = output.getvalue().replace("\r\x1b[K", "\n").strip().splitlines()
    assert [line.partition(",")[0] for line in lines] == [
        "plan: running",
        *["shards: 0 of 2 done"] * (2 if terminal else 1),
        lines[-1],
    ]
    assert lines[-1].startswith("succeeded after ")


def test_the_causes_of_a_failure_are_named(aws):
    aws.responses |= {
        "DescribeExecution": [
            {"status": "FAILED", "startDate": 1.0, "cause": json.dumps({"errorMessage": "1 of 2 shards have failed"})},
            {"status": "FAILED", "startDate": 1.0, "cause": "a\nplain  cause"},
        ],
        "ListMapRuns": [runs("shards")],
        "DescribeMapRun": [map_run("shards", total=2, succeeded=1, failed=1)],
        "ListExecutions": [{"executions": [{"executionArn": "arn:child", "startDate": 1.0}]}],
    }
    with pytest.raises(BulkError, match="has failed: 1 of 2 shards have failed; a plain cause"):
        step_functions.watch("arn:x", io.StringIO())


def test_a_stopped_execution_is_no_success(aws):
    aws.responses |= {
        "StopExecution": [{"stopDate": 1.0}],
        "DescribeExecution": [{"status": "ABORTED", "startDate": 1.0}],
    }
    step_functions.stop("arn:x")
    assert ("StopExecution", {"executionArn": "arn:x"}) in aws.requests
    with pytest.raises(BulkError, match="has aborted: it was stopped"):
        step_functions.watch("arn:x", io.StringIO())


def test_errors_of_aws_are_one_line(aws, monkeypatch):
    aws.responses["StopExecution"] = [
        {"__type": "ExecutionDoesNotExist", "message": "Execution Does Not Exist: 'arn:x'"}
    ]
    with pytest.raises(
        BulkError, match=r"AWS refuses StopExecution \(ExecutionDoesNotExist\): Execution Does Not Exist"
    ):
        step_functions.stop("arn:x")
    monkeypatch.setenv("AWS_ENDPOINT_URL_SFN", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(BulkError, match="AWS cannot be called: Could not connect to the endpoint URL"):
        step_functions.stop("arn:x")


def test_counts_that_are_zero_are_not_shown():
    assert State("RUNNING", "shards", {"total": 1, "succeeded": 0, "running": 1, "failed": 0}, ()).describe() == (
        "shards: 0 of 1 done, 1 running"
    )
