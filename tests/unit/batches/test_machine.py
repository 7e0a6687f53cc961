"""The state machine that runs batches, with real clients of a local server that responds as Step Functions does."""

import json
from collections.abc import Iterator

import pytest

from handler.batches import machine
from handler.batches.machine import StateMachine, execution_name
from handler.errors import StorageUnavailableError
from tests.unit.bulk.aws import Aws, serve

CREATED = 2_000_000_000
BATCH = f"batch_{CREATED:08x}{'0' * 24}"
URI = f"s3://bucket/batches/owners/me/batches/{BATCH}"


@pytest.fixture
def aws(monkeypatch) -> Iterator[Aws]:
    machine._client.cache_clear()
    with serve() as running:
        for name, value in running.environment.items():
            monkeypatch.setenv(name, value)
        yield running
    machine._client.cache_clear()


def test_an_execution_is_named_by_its_batch(aws):
    aws.responses["StartExecution"] = [{"executionArn": "arn:execution", "startDate": 1.0}]
    StateMachine("arn:machine").start(URI)
    expected = {"stateMachineArn": "arn:machine", "name": f"{BATCH}-0", "input": json.dumps({"out": URI})}
    assert aws.requests == [("StartExecution", expected)]


def test_a_second_start_of_a_run_is_no_error(aws):
    aws.responses["StartExecution"] = [{"__type": "ExecutionAlreadyExists", "message": "it exists"}]
    StateMachine("arn:machine").start(URI)


def test_a_batch_that_cannot_be_started_may_be_later(aws, monkeypatch):
    aws.responses["StartExecution"] = [{"__type": "AccessDeniedException", "message": "no"}]
    with pytest.raises(StorageUnavailableError, match=r"does not start a run of it \(AccessDeniedException\)"):
        StateMachine("arn:machine").start(URI)
    monkeypatch.setattr(machine, "TRIES", 1)
    monkeypatch.setenv("AWS_ENDPOINT_URL_SFN", "http://127.0.0.1:9")
    machine._client.cache_clear()
    with pytest.raises(StorageUnavailableError, match=r"cannot be reached \(EndpointConnectionError\)"):
        StateMachine("arn:machine").start(URI)


def test_a_batch_that_has_not_ended_is_run_again_every_quarter_of_an_hour_after_its_window():
    runs = {seconds: execution_name(BATCH, CREATED + seconds) for seconds in (0, 86_400, 87_299, 87_300, 88_200)}
    assert [name.rpartition("-")[2] for name in runs.values()] == ["0", "0", "0", "1", "2"]
    assert len(f"{BATCH}-{31 * 24 * 4}") <= 80  # Step Functions' limit
