"""The steps of a job on AWS, taken here one after the other: the same bytes as the executor of this machine writes."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from handler.artifacts.resolver import load
from handler.bulk import desk, merge, steps
from handler.bulk.jobs import Job, create, open_plan
from handler.bulk.merge import Group
from handler.bulk.shard import Work
from handler.errors import BulkError
from handler.settings import Settings
from handler.storage.uri import Storage, open_input, open_storage
from tests import tiny
from tests.unit.bulk.data import OPTIONS, texts, write_jsonl, written


@pytest.fixture(scope="module")
def settings(tmp_path_factory) -> Settings:
    """Save the tiny model to a folder; return settings that serve it."""
    folder = tiny.save_model(tmp_path_factory.mktemp("models"))
    return Settings(models=("tiny",), artifacts=folder.parent, workers=2)


@pytest.fixture
def job(tmp_path, settings, monkeypatch) -> Job:
    """Return a job with several shards and parts."""
    monkeypatch.setattr(merge, "PART_BYTES", 100_000)
    rows = [*texts(2000), {"id": "empty", "text": ""}]
    for number in range(7):
        write_jsonl(tmp_path / f"in/{number}.jsonl", rows[number::7])
    return Job(str(tmp_path / "in"), replace(OPTIONS, digest=load("tiny", settings).digest))


def take_all(target: Storage, settings: Settings) -> tuple[int, int]:
    """Take the steps as the state machine does; return the numbers of shards and parts that were done."""
    planned = steps.plan_shards(target, settings)
    shards = [each["number"] for each in json.loads(target.read(steps.SHARD_LIST))]
    assert planned.shards == len(shards)
    for number in shards:
        steps.shard(target, settings, planned.source, number)
    parts = steps.group_shards(target)
    groups = [Group(**each) for each in json.loads(target.read(steps.PART_LIST))]
    assert parts == len(groups)
    for group in groups:
        steps.part(target, group)
    steps.finish_job(target, 3538)
    return len(shards), parts


def result(folder: Path) -> dict[str, Any]:
    """Return an output without what its executor took."""
    files = written(folder)
    return files | {"_manifest.json": {**json.loads(files["_manifest.json"]), "cost": None}}


def test_steps_write_what_the_desk_writes(tmp_path, job, settings):
    here, there = (open_storage(str(tmp_path / name)) for name in ("desk", "aws"))
    create(here, job)
    source, entries = open_input(job.source)
    plan = open_plan(source, entries, here, job.options)
    desk.run(Work(source, here, plan, steps.embedder(job.options, settings)), "")
    create(there, job)
    shards, parts = take_all(there, settings)
    assert (shards, parts) == (len(plan.shards), len(list((tmp_path / "desk").glob("part-*"))))
    assert min(shards, parts) > 1
    assert result(tmp_path / "aws") == result(tmp_path / "desk")
    cost = json.loads(there.read("_manifest.json"))["cost"]
    assert cost["executor"] == "aws"
    assert cost["dollars"] > 0


def test_what_is_done_is_not_done_again(tmp_path, job, settings):
    target = open_storage(str(tmp_path / "out"))
    create(target, job)
    planned = steps.plan_shards(target, settings)
    steps.shard(target, settings, planned.source, 1)
    assert steps.plan_shards(target, settings).shards == planned.shards - 1
    assert 1 not in [each["number"] for each in json.loads(target.read(steps.SHARD_LIST))]
    take_all(target, settings)
    assert take_all(target, settings) == (0, 0)


def test_a_part_may_be_written_twice_at_once(tmp_path, job, settings, monkeypatch):
    target = open_storage(str(tmp_path / "out"))
    create(target, job)
    planned = steps.plan_shards(target, settings)
    for number in range(planned.shards):
        steps.shard(target, settings, planned.source, number)
    steps.group_shards(target)
    first, second, *_ = (Group(**each) for each in json.loads(target.read(steps.PART_LIST)))

    def overtaken(*arguments: Any) -> None:
        merge.write_part(*arguments)
        raise BulkError("a shard's file is gone")

    with monkeypatch.context() as patch:
        patch.setattr(steps, "write_part", overtaken)
        assert steps.part(target, first) == steps.part(target, first)
    (tmp_path / f"out/_job/shards/{steps.open_stored_plan(target).shard_name(second.first)}.parquet").unlink()
    with pytest.raises(BulkError):
        steps.part(target, second)


def test_shards_that_failed_are_named(tmp_path, job, settings):
    target = open_storage(str(tmp_path / "out"))
    create(target, job)
    planned = steps.plan_shards(target, settings)
    steps.shard(target, settings, planned.source, 0)
    failed = planned.shards - 1
    with pytest.raises(BulkError, match=rf"{failed} of {planned.shards} shards have failed \(1, 2, 3, 4, 5, ...\)"):
        steps.group_shards(target)


@pytest.mark.parametrize(("shards", "tolerated"), [(0, 100), (1, 100), (20, 100), (40, 50), (200, 10), (50_000, 10)])
def test_twenty_shards_or_a_tenth_may_fail(shards, tolerated):
    assert steps.tolerated_percent(shards) == tolerated


def test_another_version_of_the_model_is_refused_before_any_shard(tmp_path, job, settings):
    target = open_storage(str(tmp_path / "out"))
    create(target, replace(job, options=replace(job.options, digest="e" * 64)))
    with pytest.raises(BulkError, match=f"its digest is {job.options.digest}, and the job's {'e' * 64}"):
        steps.plan_shards(target, settings)


def test_vectors_of_an_earlier_output_are_reused(tmp_path, job, settings):
    first, second = (open_storage(str(tmp_path / name)) for name in ("first", "second"))
    create(first, job)
    take_all(first, settings)
    create(second, replace(job, previous=first.uri))
    planned = steps.plan_shards(second, settings)
    receipt = steps.shard(second, settings, planned.source, 0)
    assert 0 < receipt.reused == receipt.rows - receipt.rejects


def test_a_plan_that_was_made_again_is_read_again(tmp_path, job, settings):
    target = open_storage(str(tmp_path / "out"))
    create(target, job)
    steps.plan_shards(target, settings)
    plan = steps.open_stored_plan(target)
    assert steps.open_stored_plan(target) is plan
    target.write("_job/plan.json", replace(plan, shards=plan.shards[:1]).to_json())
    assert len(steps.open_stored_plan(target).shards) == 1
