"""The bulk function in this process, step by step as the state machine calls it."""

import importlib
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

import pytest

from handler.artifacts.resolver import load
from handler.bulk import steps
from handler.bulk.jobs import Job, create
from handler.errors import ArtifactError, BulkError
from handler.settings import Settings
from handler.storage.uri import open_storage
from tests.unit.bulk.data import OPTIONS, texts, write_jsonl

Call = Callable[..., dict[str, Any]]


@dataclass(frozen=True)
class Context:
    """What a step reads of Lambda's context."""

    seconds: float
    aws_request_id: str = "request"

    def get_remaining_time_in_millis(self) -> int:
        return int(self.seconds * 1000)


@pytest.fixture
def main(tmp_path, monkeypatch, tiny_model) -> Iterator[ModuleType]:
    """Import the function, which has effects, as Lambda does; the tiny model is the one that it serves."""
    (tmp_path / "tmp/bulk-leftover").mkdir(parents=True)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    monkeypatch.setenv("MODELS", tiny_model)
    monkeypatch.setenv("LAMBDA_TASK_ROOT", "/var/task")
    monkeypatch.delitem(sys.modules, "handler.bulk.main", raising=False)
    yield importlib.import_module("handler.bulk.main")
    monkeypatch.delitem(sys.modules, "handler.bulk.main")


@pytest.fixture
def call(main, tmp_path, tiny_model) -> Call:
    """Return a function that takes a step of a job with one rejected row."""
    source = write_jsonl(tmp_path / "in/rows.jsonl", [*texts(50), {"id": "empty", "text": ""}])
    digest = load(tiny_model, Settings()).digest
    create(open_storage(str(tmp_path / "out")), Job(str(source), replace(OPTIONS, digest=digest)))

    def call(step: str, seconds: float = 900, **event: object) -> dict[str, Any]:
        result: dict[str, Any] = main.lambda_handler(
            {"step": step, "out": str(tmp_path / "out"), **event}, Context(seconds)
        )
        return result

    return call


def test_every_step_returns_what_the_state_machine_needs(call, tmp_path):
    planned = call("plan")
    assert (planned["shards"], planned["source"]) == (1, str(tmp_path / "in"))
    (shard,) = json.loads((tmp_path / "out" / steps.SHARD_LIST).read_text())
    done = call("shard", source=planned["source"], item=shard)
    assert (done["number"], done["rows"], done["rejects"]) == (0, 51, 1)
    assert (grouped := call("group", concurrency=1000))["parts"] == 1
    assert grouped["concurrency"] == 300
    (part,) = json.loads((tmp_path / "out" / steps.PART_LIST).read_text())
    assert call("part", item=part)["rows"] == 51
    assert call("finish")["rows_out"] == 50


def test_files_of_an_ended_process_are_deleted(main, tmp_path):
    assert main.memory_mb == 1769
    assert not (tmp_path / "tmp/bulk-leftover").exists()


def test_an_unknown_step_is_not_retried(call):
    with pytest.raises(BulkError, match="there is no step 'walk'"):
        call("walk")


def test_an_unexpected_error_does_not_quote_texts(call, monkeypatch):
    def fail(*_: object) -> None:
        raise ValueError("a text")

    monkeypatch.setattr(steps, "plan_shards", fail)
    with pytest.raises(Exception, match=r"^ValueError; the function's log says where$") as raised:
        call("plan")
    assert raised.type.__name__ == "StepError"
    assert raised.value.__suppress_context__


def test_a_model_that_is_unavailable_may_be_retried(call, tmp_path):
    (tmp_path / "models/tiny/manifest.json").unlink()
    with pytest.raises(ArtifactError, match="does not exist"):
        call("plan")


def test_a_step_says_that_its_time_is_over(call, monkeypatch):
    monkeypatch.setattr(steps, "plan_shards", lambda *_: time.sleep(30))
    with pytest.raises(BulkError, match="plan was not done in 0 seconds; deploy with a higher BulkMemorySize"):
        call("plan", seconds=30.1)


def test_a_message_of_another_error_of_ours_is_that_of_a_bulk_error(call, tmp_path):
    (tmp_path / "out/_job/job.json").unlink()
    with pytest.raises(BulkError, match="there is no job"):
        call("plan")
