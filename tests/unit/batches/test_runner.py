"""What runs batches on AWS, with real clients of a local server that responds as Step Functions does."""

import json
from collections.abc import Iterator

import pytest

from handler.batches import runner
from handler.batches.records import BatchRecord
from handler.batches.runner import StateMachine, overdue
from handler.errors import StorageUnavailableError
from tests.unit.bulk.aws import Aws, serve

URI = "s3://bucket/batches/owners/me/batches/batch_1"


@pytest.fixture
def aws(monkeypatch) -> Iterator[Aws]:
    runner._client.cache_clear()
    with serve() as running:
        for name, value in running.environment.items():
            monkeypatch.setenv(name, value)
        yield running
    runner._client.cache_clear()


def test_an_execution_is_named_by_its_batch_and_run(aws):
    aws.responses["StartExecution"] = [{"executionArn": "arn:execution", "startDate": 1.0}]
    StateMachine("arn:machine").start(URI)
    StateMachine("arn:machine").start(URI, 3)
    started = [request for _, request in aws.requests]
    assert [each["name"] for each in started] == ["batch_1-0", "batch_1-3"]
    assert {each["stateMachineArn"] for each in started} == {"arn:machine"}
    assert {each["input"] for each in started} == {json.dumps({"out": URI})}


def test_a_second_start_of_a_run_is_no_error(aws):
    aws.responses["StartExecution"] = [{"__type": "ExecutionAlreadyExists", "message": "it exists"}]
    StateMachine("arn:machine").start(URI)


def test_a_batch_that_cannot_be_started_may_be_later(aws, monkeypatch):
    aws.responses["StartExecution"] = [{"__type": "AccessDeniedException", "message": "no"}]
    with pytest.raises(StorageUnavailableError, match=r"does not start a run of it \(AccessDeniedException\)"):
        StateMachine("arn:machine").start(URI)
    monkeypatch.setattr(runner, "TRIES", 1)
    monkeypatch.setenv("AWS_ENDPOINT_URL_SFN", "http://127.0.0.1:9")
    runner._client.cache_clear()
    with pytest.raises(StorageUnavailableError, match=r"cannot be reached \(EndpointConnectionError\)"):
        StateMachine("arn:machine").start(URI)


def test_a_batch_is_run_again_when_its_window_has_been_over_for_long():
    batch = BatchRecord("batch_1", "me", 1, 10_000, "/v1/embeddings", "24h", "file-1", None, 3600)
    assert [overdue(batch, now) for now in (0, 10_000, 10_899, 10_900, 11_800)] == [0, 0, 0, 1, 2]
