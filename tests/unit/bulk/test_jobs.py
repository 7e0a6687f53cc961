"""A job's folder: what it remembers, and what it refuses."""

from dataclasses import replace

import pytest

from handler.bulk import jobs
from handler.bulk.jobs import Job, check, create, missing, open_job, open_plan, status
from handler.bulk.merge import Group, finish, write_part
from handler.bulk.shard import embed_shard
from handler.errors import BulkError
from handler.settings import Settings
from handler.storage.uri import open_input, open_storage
from tests.unit.bulk.data import OPTIONS, texts, work, write_jsonl

JOB = Job("somewhere", OPTIONS, max_rejects="1%", previous="s3://bucket/earlier")


def test_a_job_survives_storage(tmp_path):
    target = open_storage(str(tmp_path))
    create(target, JOB)
    assert open_job(target) == JOB


def test_a_job_may_be_begun_again_with_another_limit_of_rejects(tmp_path):
    target = open_storage(str(tmp_path))
    create(target, JOB)
    create(target, replace(JOB, max_rejects=""))
    assert open_job(target).max_rejects == ""


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("digest", "e" * 64, f"with digest '{'d' * 64}', not '{'e' * 64}'"),
        ("dimensions", 8, "with dimensions '32', not '8'"),
        ("layout", "vectors", "with layout 'columns', not 'vectors'"),
    ],
)
def test_an_output_of_other_options_is_refused(tmp_path, option, value, words):
    target = open_storage(str(tmp_path))
    create(target, JOB)
    with pytest.raises(BulkError, match=f"{words}; choose another OUT"):
        create(target, replace(JOB, options=replace(OPTIONS, **{option: value})))


def test_parts_without_a_job_are_refused(tmp_path):
    (tmp_path / "part-0.parquet").touch()
    with pytest.raises(BulkError, match=r"part-0.parquet, and no record of its job; choose an empty OUT"):
        check(open_storage(str(tmp_path)), OPTIONS)


def test_a_folder_without_a_job_has_none(tmp_path):
    for function in (open_job, status):
        with pytest.raises(BulkError, match="there is no job"):
            function(open_storage(str(tmp_path)))


def test_a_plan_of_another_run_is_kept(tmp_path):
    target = open_storage(str(tmp_path / "out"))
    first, other = (work(tmp_path, write_jsonl(tmp_path / f"{n}.jsonl", texts(n))).plan for n in (3, 4))
    jobs.keep_plan(target, first)
    jobs.keep_plan(target, first)
    with pytest.raises(BulkError, match="another run has begun with another input; choose another OUT"):
        jobs.keep_plan(target, other)


def test_a_plan_is_made_once(tmp_path):
    write_jsonl(tmp_path / "in/a.jsonl", texts(5))
    target = open_storage(str(tmp_path / "out"))
    source, entries = open_input(str(tmp_path / "in"))
    plan = open_plan(source, entries, target, OPTIONS)
    assert (tmp_path / "out/_job/plan.json").read_bytes() == plan.to_json()
    assert open_plan(source, entries, target, OPTIONS) == plan


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda folder: write_jsonl(folder / "a.jsonl", texts(6)), "a.jsonl: the file has changed"),
        (lambda folder: write_jsonl(folder / "b.jsonl", texts(6)), "b.jsonl: the file is new"),
        (lambda folder: (folder / "a.jsonl").rename(folder / "c.jsonl"), "a.jsonl: the file is gone"),
    ],
)
def test_another_input_than_planned_is_refused(tmp_path, change, words):
    write_jsonl(tmp_path / "in/a.jsonl", texts(5))
    target = open_storage(str(tmp_path / "out"))
    open_plan(*open_input(str(tmp_path / "in")), target, OPTIONS)
    change(tmp_path / "in")
    with pytest.raises(BulkError, match=f"{words} since the job was planned; restore it, or choose another OUT"):
        open_plan(*open_input(str(tmp_path / "in")), target, OPTIONS)


def test_a_column_in_the_way_is_found_before_anything_is_written(tmp_path):
    write_jsonl(tmp_path / "in.jsonl", [{"text": "food", "embedding": "x"}])
    with pytest.raises(BulkError, match="'embedding' already"):
        open_plan(*open_input(str(tmp_path / "in.jsonl")), open_storage(str(tmp_path / "out")), OPTIONS)
    assert not (tmp_path / "out").exists()


def test_status_counts_what_has_a_receipt(tmp_path):
    job = work(tmp_path, write_jsonl(tmp_path / "in.jsonl", [*texts(1500), {"text": ""}]), 500)
    create(job.target, JOB)
    assert status(job.target).shards == 0
    job.target.write(jobs.PLAN, job.plan.to_json())
    embed_shard(job, job.plan.shards[0])
    count = len(job.plan.shards)
    seen = status(job.target)
    assert (seen.shards, seen.shards_done, seen.parts, seen.finished) == (count, 1, 0, False)
    assert 0 < seen.rows < 1501
    assert missing(job.target, job.plan) == list(job.plan.shards[1:])
    for shard in job.plan.shards:
        embed_shard(job, shard)
    write_part(job.target, job.plan, Group(0, 0, count))
    finish(job.target, job.plan, 1, "", {})
    assert status(job.target) == jobs.Status(count, count, 1, rows=1501, rejects=1, finished=True)


def test_the_jobs_model_is_loaded_by_its_name_and_digest():
    settings = Settings()
    with pytest.raises(BulkError, match="'tiny' is not among MODELS: all-MiniLM-L6-v2"):
        jobs.load_embedder(OPTIONS, settings)
    with pytest.raises(BulkError, match="set MODEL to the version that the job began with"):
        jobs.load_embedder(replace(OPTIONS, model="all-MiniLM-L6-v2"), settings)
