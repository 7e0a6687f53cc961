"""The executor of batches on this machine: whose turn it is, ends in each state, failures that pass and that do not."""

import io
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from handler.batches.folder import BatchFolder
from handler.bulk import batch_desk, batch_shard, batch_validate
from handler.bulk.batch_desk import Desk
from handler.bulk.batch_shard import run_shard
from handler.bulk.batch_tries import MAX_TRIES
from handler.bulk.batch_validate import validate
from handler.errors import BulkError, UnavailableError
from handler.models.catalog import Catalog
from handler.storage.folder import Folder
from tests import tiny
from tests.unit.bulk.batches import DAY, NOW, SETTINGS, cancel, catalog, create, jsonl, line, results

MODELS = catalog()


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_validate, "SHARD_INPUTS", 2)


def desk(path: Path, now: int = NOW, models: Catalog = MODELS) -> Desk:
    return Desk(Folder(path), SETTINGS, io.StringIO(), lambda: now, _catalog=models)


def log(of: Desk) -> list[str]:
    assert isinstance(of.log, io.StringIO)
    return [each.partition(" ")[2] for each in of.log.getvalue().splitlines()]


def lines(count: int = 6) -> bytes:
    return jsonl(line(f"id-{number}", f"the {number}") for number in range(count))


def check(folder: BatchFolder, ending: str, requests: int = 6) -> list[str]:
    """Check that a batch has ended, and each request is in one file; return the codes of those that did not run."""
    end = folder.end()
    assert end
    assert end.ending == ending
    output, errors = results(folder, end)
    assert sorted(each["custom_id"] for each in (*output, *errors)) == sorted(f"id-{each}" for each in range(requests))
    return [each["error"]["code"] for each in errors if each["error"]]


def test_batch_runs_to_its_end_with_a_line_for_each_state(tmp_path):
    folder = create(tmp_path, lines())
    runs = desk(tmp_path)
    assert runs.run()
    assert check(folder, "completed") == []
    end = folder.end()
    assert end
    assert log(runs) == [
        "validating",
        "in_progress: 6 requests, 0 of 3 shards done",
        "finalizing",
        f"completed: 6 completed, 0 failed, {end.tokens} tokens",
    ]
    assert not folder.storage.exists(folder.path("tries.json"))
    assert desk(tmp_path).run()


def test_invalid_batch_fails(tmp_path):
    folder = create(tmp_path, b"{}\n[]\n")
    runs = desk(tmp_path)
    assert runs.run()
    end = folder.end()
    assert end
    assert (end.ending, len(end.errors), log(runs)) == ("failed", 2, ["validating", "failed: 2 errors"])


@pytest.mark.parametrize("state", ["validating", "in_progress", "half", "done"])
@pytest.mark.parametrize("how", ["cancelled", "expired"])
def test_batch_that_is_over_ends_in_each_state(tmp_path, state, how):
    folder = create(tmp_path, lines())
    if state != "validating":
        validate(folder, MODELS, NOW)
    for number in range({"half": 1, "done": 3}.get(state, 0)):
        run_shard(folder, MODELS, number, NOW)
    if how == "cancelled":
        cancel(folder)
    assert desk(tmp_path, NOW + DAY if how == "expired" else NOW).run()
    if (state, how) == ("validating", "cancelled"):
        end = folder.end()
        assert end
        assert (end.ending, end.error_file_id) == ("cancelled", None)
        return
    ending = "completed" if (state, how) == ("done", "expired") else how
    not_run = {"half": 4, "done": 0}.get(state, 6)
    assert check(folder, ending) == [f"batch_{how}"] * not_run


def test_cancellation_is_noticed_between_shards(tmp_path, monkeypatch):
    folder = create(tmp_path, lines(40))
    original = batch_shard._write

    def write(*arguments: Any) -> Any:
        cancel(folder)
        return original(*arguments)

    monkeypatch.setattr(batch_shard, "_write", write)
    assert desk(tmp_path).run()
    assert 0 < len(check(folder, "cancelled", 40)) < 38


def test_batches_take_turns_and_a_new_one_need_not_wait_for_others(tmp_path, monkeypatch):
    monkeypatch.setattr(batch_desk, "SLICE_SECONDS", 0.0)
    first = create(tmp_path, lines(40))
    created: list[BatchFolder] = []
    original = batch_shard._write

    def write(folder: BatchFolder, *arguments: Any) -> Any:
        if not created:
            created.extend([create(tmp_path, lines(4), NOW + 1), create(tmp_path, b"{}", NOW + 2)])
            cancel(create(tmp_path, lines(4), NOW + 3))
        return original(folder, *arguments)

    monkeypatch.setattr(batch_shard, "_write", write)
    runs = desk(tmp_path, NOW + 3)
    assert runs.run()
    assert check(first, "completed", 40) == check(created[0], "completed", 4) == []
    assert [each.split(":")[0] for each in log(runs) if ":" in each and "progress" not in each] == [
        "failed",
        "cancelled",
        "completed",
        "completed",
    ]
    assert [each.split()[0] for each in (runs.log or io.StringIO()).getvalue().splitlines()][-1] == first.id  # type: ignore[attr-defined]


@dataclass
class Failing:
    """Fails some times, then calls what it replaces."""

    original: Callable[..., Any]
    error: Exception
    times: float
    calls: list[object] = field(default_factory=list)

    def __call__(self, *arguments: Any) -> Any:
        self.calls.append(None)
        if len(self.calls) <= self.times:
            raise self.error
        return self.original(*arguments)


@pytest.mark.parametrize("place", ["validate", "finish", "find_model", "run_shards"])
@pytest.mark.parametrize("error", [BulkError("the disk is full"), UnavailableError("loading", 200), ValueError("bug")])
def test_failure_that_passes_costs_nothing(tmp_path, monkeypatch, place, error):
    folder = create(tmp_path, lines())
    other = create(tmp_path, b"{}", NOW + 1)  # which does not wait for the first one
    monkeypatch.setattr(batch_desk, place, Failing(getattr(batch_desk, place), error, 1))
    assert not desk(tmp_path).run()
    assert other.end() or place in {"validate", "finish"}
    assert desk(tmp_path).run()
    assert check(folder, "completed") == []


@pytest.mark.parametrize("place", ["validate", "run_shards"])
def test_bug_that_does_not_pass_ends_the_batch(tmp_path, monkeypatch, place):
    folder = create(tmp_path, lines())
    broken = Failing(getattr(batch_desk, place), ValueError("bug"), float("inf"))
    monkeypatch.setattr(batch_desk, place, broken)
    passes = 0
    while not desk(tmp_path).run():
        passes += 1
    assert passes <= MAX_TRIES
    if place == "validate":
        end = folder.end()
        assert end
        assert (end.ending, [error.code for error in end.errors]) == ("failed", ["internal_error"])
    else:
        assert check(folder, "completed") == ["internal_error"] * 6


@pytest.mark.parametrize("place", ["validate", "run_shards"])
def test_storage_that_does_not_recover_is_tried_until_the_window_ends(tmp_path, monkeypatch, place):
    folder = create(tmp_path, lines())
    broken = Failing(getattr(batch_desk, place), BulkError("no access"), float("inf"))
    monkeypatch.setattr(batch_desk, place, broken)
    for _ in range(2 * MAX_TRIES):
        assert not desk(tmp_path).run()
    assert folder.end() is None
    if place == "run_shards":
        assert desk(tmp_path, NOW + DAY).run()
        assert check(folder, "expired") == ["batch_expired"] * 6
    else:
        assert desk(tmp_path, NOW + DAY).run()
        end = folder.end()
        assert end
        assert (end.ending, [error.code for error in end.errors]) == ("failed", ["internal_error"])


def test_model_that_is_gone_ends_the_batch(tmp_path):
    folder = create(tmp_path, lines())
    validate(folder, MODELS, NOW)
    run_shard(folder, MODELS, 1, NOW)
    other = tiny.embedder(SETTINGS, id="other")
    runs = desk(tmp_path, models=Catalog.of([other], SETTINGS))
    assert runs.run()
    assert check(folder, "completed") == ["internal_error"] * 4
    assert any("its model is not served any more" in each for each in log(runs))


def test_model_that_is_loading_is_waited_for(tmp_path, monkeypatch):
    folder = create(tmp_path, lines())
    find = Failing(batch_shard.find_model, UnavailableError("still loading", 0.01), 3)
    monkeypatch.setattr(batch_desk, "find_model", find)
    assert desk(tmp_path).run()
    assert (len(find.calls), check(folder, "completed")) == (4, [])


def test_catalog_is_that_of_the_settings(tmp_path):
    folder = create(tmp_path, jsonl([line("id-0", model="all-MiniLM-L6-v2")]))
    assert Desk(Folder(tmp_path), replace(SETTINGS, models=("all-MiniLM-L6-v2",)), clock=lambda: NOW).run()
    assert check(folder, "completed", 1) == []
