"""A batch on AWS, step by step as the state machine calls the bulk function."""

import importlib
import json
import sys
import time
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from handler.batches.folder import BATCH, PLAN, SHARDS, BatchFolder
from handler.batches.records import BatchEnd
from handler.bulk import batch_shard, batch_steps, batch_validate, steps
from handler.bulk.batch_shard import run_shard
from handler.bulk.webhooks import WebhookError
from handler.errors import BulkError, UnavailableError
from handler.storage.folder import Folder
from tests.unit.bulk.batches import create, jsonl, line
from tests.unit.bulk.test_main import Context

NOW = int(time.time())
REQUESTS = [line("a"), line("b", ["the food", "and"]), line("c", dimensions=99_999)]


@pytest.fixture
def main(tmp_path, monkeypatch, tiny_model) -> Iterator[ModuleType]:
    """Import the function, which has effects, as Lambda does; the tiny model is the one that it serves."""
    settings = {"MODELS": tiny_model, "BATCHES": str(tmp_path), "WEBHOOK_URL": "http://127.0.0.1:9"}
    for name, value in {**settings, "WEBHOOK_SECRET": f"whsec_{'a' * 32}"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(batch_validate, "SHARD_INPUTS", 3)
    monkeypatch.delitem(sys.modules, "handler.bulk.main", raising=False)
    yield importlib.import_module("handler.bulk.main")
    monkeypatch.delitem(sys.modules, "handler.bulk.main")


def call(main: ModuleType, folder: BatchFolder, step: str, **event: object) -> dict[str, Any]:
    out = f"{folder.storage.uri}/{folder.path('')}".rstrip("/")
    result: dict[str, Any] = main.lambda_handler({"step": step, "out": out, **event}, Context(900))
    return result


def lines(folder: BatchFolder, file_id: str | None) -> list[str]:
    """Return the custom IDs of an output or error file."""
    content = folder.storage.read(f"owners/{folder.owner}/files/{file_id}") if file_id else b""
    return [json.loads(each)["custom_id"] for each in content.splitlines()]


def test_the_steps_of_a_batch_validate_it_run_its_shards_and_end_it(main, tmp_path, capsys):
    folder = create(tmp_path, jsonl(REQUESTS), NOW)
    planned = call(main, folder, "plan")
    assert (planned["shards"], planned["tolerated"]) == (2, 100)
    listed = json.loads(folder.storage.read(folder.path(steps.SHARD_LIST)))
    assert [each["number"] for each in listed] == [0, 1]
    done = [call(main, folder, "shard", source=planned["source"], item=each) for each in listed]
    assert [(each["completed"], each["failed"]) for each in done] == [(2, 0), (0, 1)]
    assert call(main, folder, "plan")["shards"] == 0
    assert call(main, folder, "end") == {"ending": "completed", "completed": 2, "failed": 1, "tokens": 11}
    end = folder.end()
    assert end
    assert (lines(folder, end.output_file_id), lines(folder, end.error_file_id)) == (["a", "b"], ["c"])
    with pytest.raises(WebhookError):
        call(main, folder, "report")
    logged = [json.loads(each) for each in capsys.readouterr().out.splitlines()]
    assert [each["step"] for each in logged] == ["plan", "shard", "shard", "plan", "end"]
    assert {each["batch"] for each in logged} == {folder.id}
    assert [each["BatchErrors"] for each in logged if "BatchErrors" in each] == [[0], [1]]
    assert not {"the food", "in.jsonl"} & {word for each in logged for word in json.dumps(each).split('"')}


def test_shards_that_failed_become_errors_at_the_end(main, tmp_path):
    folder = create(tmp_path, jsonl(REQUESTS), NOW)
    assert call(main, folder, "plan")["shards"] == 2
    call(main, folder, "shard", item={"number": 0})
    assert call(main, folder, "end")["ending"] == "completed"
    end = folder.end()
    assert end
    assert (lines(folder, end.output_file_id), lines(folder, end.error_file_id)) == (["a", "b"], ["c"])


def test_a_batch_that_cannot_be_validated_fails_at_the_end(main, tmp_path):
    folder = create(tmp_path, jsonl(REQUESTS), NOW)
    assert call(main, folder, "end")["ending"] == "failed"


def test_an_expired_batch_runs_nothing_more(main, tmp_path):
    folder = create(tmp_path, jsonl(REQUESTS), NOW - 90_000)
    assert call(main, folder, "plan")["shards"] == 0
    assert call(main, folder, "shard", item={"number": 0})["completed"] == 0
    assert not folder.storage.list(folder.path(SHARDS))
    assert call(main, folder, "end")["ending"] == "expired"


def test_a_batch_that_was_withdrawn_ends_without_a_trace(main, tmp_path):
    folder = create(tmp_path, jsonl(REQUESTS), NOW)
    folder.storage.delete([folder.path(BATCH)])
    assert call(main, folder, "plan")["shards"] == 0
    assert call(main, folder, "end") == call(main, folder, "report") == {}
    assert not folder.storage.exists(folder.path(PLAN))


def test_a_shard_waits_for_the_model_and_not_for_ever(main, tmp_path, monkeypatch):
    folder, loading = create(tmp_path, jsonl(REQUESTS), NOW), [1, 1]

    def slow(*arguments: Any) -> Any:
        if loading:
            loading.pop()
            raise UnavailableError("the model is loading", 0.01)
        return run_shard(*arguments)

    call(main, folder, "plan")
    monkeypatch.setattr(batch_steps, "run_shard", slow)
    assert call(main, folder, "shard", item={"number": 0})["completed"] == 2
    monkeypatch.setattr(batch_shard, "LOAD_SECONDS", 0)
    loading.append(1)
    with pytest.raises(UnavailableError):  # no BulkError, so the state machine tries again
        call(main, folder, "shard", item={"number": 1})


def test_a_batch_has_no_other_steps(main, tmp_path):
    with pytest.raises(BulkError, match="a batch has no step 'group'"):
        call(main, create(tmp_path, jsonl(REQUESTS), NOW), "group")


@pytest.mark.parametrize(
    ("uri", "found"),
    [
        ("s3://b/batches/owners/me/batches/batch_1", True),
        ("s3://b/batches/owners/me/batches/batch_1/x", False),
        ("s3://b/bulk/out/owners/me/batches/batch_1", False),
        ("s3://b/bulk/out/job", False),
    ],
)
def test_only_a_folder_of_a_batch_below_the_root_is_a_batch(uri, found):
    assert bool(batch_steps.find_batch(uri, "s3://b/batches")) == found
    assert batch_steps.find_batch(uri, "") is None


def test_the_end_of_a_batch_is_counted_once_it_has_one(tmp_path):
    folder = create(tmp_path, jsonl(REQUESTS), NOW)
    assert isinstance(batch_steps.end_batch(folder, NOW), BatchEnd)
    assert batch_steps.end_batch(BatchFolder(Folder(tmp_path), "me", "batch_2"), NOW) is None
