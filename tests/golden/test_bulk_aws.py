"""The commands of bulk jobs with STACK=: real clients, S3 on this machine, and a job's steps as its state machine."""

import json
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from handler.bulk import step_functions, steps
from handler.bulk.__main__ import main
from handler.bulk.merge import Group
from handler.settings import Settings
from handler.storage import s3_client
from handler.storage.uri import open_storage
from tests import s3 as s3_server
from tests.s3 import S3
from tests.unit.bulk.aws import Aws, serve, stack_xml

pytestmark = pytest.mark.emulated

IN, OUT = "s3://data/in/rows.jsonl", "s3://data/out/job"
ON_STACK = ("--stack", "embeddings")
EXECUTION = {"executionArn": "arn:execution", "startDate": 1.0}


def take_steps(request: dict[str, Any]) -> dict[str, Any]:
    """Execute a job as its state machine does; return what StartExecution responds."""
    target, settings = open_storage(json.loads(request["input"])["out"]), Settings()
    planned = steps.plan_shards(target, settings)
    for number in range(planned.shards):
        steps.shard(target, settings, planned.source, number)
    steps.group_shards(target)
    for each in json.loads(target.read(steps.PART_LIST)):
        steps.part(target, Group(**each))
    steps.finish_job(target, 1769)
    return EXECUTION


@pytest.fixture
def s3() -> Iterator[S3]:
    with s3_server.serve() as server:
        server.client.create_bucket(Bucket="data")
        rows = [{"id": number, "text": text} for number, text in enumerate(["the food", "", "was good"])]
        body = "".join(f"{json.dumps(row)}\n" for row in rows).encode()
        server.client.put_object(Bucket="data", Key="in/rows.jsonl", Body=body)
        yield server


@pytest.fixture
def aws(s3, monkeypatch) -> Iterator[Aws]:
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    monkeypatch.setattr(step_functions, "POLL_SECONDS", 0.01)
    s3_client.make_client.cache_clear()
    with serve() as running:
        for name, value in (running.environment | {"AWS_ENDPOINT_URL_S3": s3.url}).items():
            monkeypatch.setenv(name, value)
        running.responses = {
            "DescribeStacks": [stack_xml()],
            "GetAccountSettings": [{"AccountLimit": {"UnreservedConcurrentExecutions": 1000}}],
            "StartExecution": [take_steps],
            "DescribeExecution": [{"status": "SUCCEEDED", "startDate": 1.0}],
        }
        yield running
    s3_client.make_client.cache_clear()
    for number, handler in handlers.items():
        signal.signal(number, handler)


def test_a_job_runs_on_the_stack_and_its_facts_stand_beside_its_price(aws, capsys):
    assert main(["run", IN, OUT, "--yes", *ON_STACK]) == 0
    printed = capsys.readouterr().out
    assert "3 rows in, 2 out in 1 parts" in printed
    assert "1 ROWS WERE REJECTED" in printed
    facts = printed[printed.rindex("estimated") :]
    dollars = facts[facts.index("dollars") :].split()
    assert float(dollars[2]) <= float(dollars[1]) * 1.25 + 0.01
    assert [operation for operation, _ in aws.requests].count("StartExecution") == 1


def test_a_job_that_fails_is_resumed_on_the_stack(aws, capsys):
    aws.responses |= {
        "StartExecution": [EXECUTION, take_steps],
        "DescribeExecution": [{"status": "FAILED", "startDate": 1.0, "cause": "for this"}],
    }
    assert main(["run", IN, OUT, "--yes", *ON_STACK]) == 1
    assert "bulk: the execution has failed: for this" in capsys.readouterr().err
    assert main(["status", OUT, *ON_STACK]) == 0
    assert capsys.readouterr().out.splitlines()[:2] == ["failed; plan: failed", "for this"]
    aws.responses["DescribeExecution"] = [
        {"status": "FAILED", "startDate": 1.0},
        {"status": "SUCCEEDED", "startDate": 1.0},
    ]
    assert main(["resume", OUT, *ON_STACK]) == 0
    assert "3 rows in, 2 out" in capsys.readouterr().out


def test_the_job_goes_on_when_its_command_is_interrupted(aws, capsys, monkeypatch):
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(step_functions, "watch", interrupt)
    with pytest.raises(SystemExit) as ended:
        main(["run", IN, OUT, "--yes", *ON_STACK])
    assert not ended.value.code
    assert (
        f"the job goes on without this command: make bulk-status OUT={OUT} STACK=embeddings" in capsys.readouterr().out
    )
    aws.responses["StopExecution"] = [{"stopDate": 1.0}]
    assert main(["cancel", OUT, *ON_STACK]) == 0
    assert ("StopExecution", {"executionArn": "arn:execution"}) in aws.requests


def test_what_the_stack_may_not_use_is_refused_before_anything_is_read(aws, capsys):
    assert main(["run", "s3://elsewhere/rows.jsonl", OUT, "--yes", *ON_STACK]) == 1
    assert (
        "IN is s3://elsewhere/rows.jsonl, and stack 'embeddings' may only use s3://data/in/" in capsys.readouterr().err
    )
    assert "StartExecution" not in dict(aws.requests)
