"""Plans: their digest, their names, and how they are stored."""

from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from handler.bulk.plan import InputFile, Plan, Shard, make_plan
from handler.errors import BulkError
from handler.storage.uri import open_input
from tests.unit.bulk.data import OPTIONS, texts, write_jsonl

PLAN = Plan(
    options=OPTIONS,
    schema=b"\xff\0",
    files=(InputFile("é.jsonl", 100, "v1"),),
    shards=(Shard(0, "é.jsonl", 0, 60), Shard(1, "é.jsonl", 60, 100)),
)


def test_plan_survives_storage():
    assert Plan.from_json(PLAN.to_json()) == PLAN
    assert Plan.from_json(PLAN.to_json()).digest == PLAN.digest


def test_digest_depends_on_everything_that_decides_the_output_and_on_nothing_else():
    moved = replace(PLAN, files=(InputFile("é.jsonl", 100, "v2"),))
    assert moved.digest == PLAN.digest
    changed = [
        replace(PLAN, options=replace(OPTIONS, layout="vectors")),
        replace(PLAN, schema=b""),
        replace(PLAN, files=(InputFile("é.jsonl", 101, "v1"),)),
        replace(PLAN, shards=PLAN.shards[:1]),
    ]
    assert len({plan.digest for plan in [PLAN, *changed]}) == 5


def test_names_say_plan_number_and_model():
    assert PLAN.shard_name(7) == f"{PLAN.digest[:8]}-000007-dddddddd"
    assert PLAN.part_name(7) == f"part-{PLAN.digest[:8]}-00007-dddddddd"


def test_a_plan_names_ranges_of_all_files(tmp_path):
    for name in ("b", "a"):
        write_jsonl(tmp_path / f"in/{name}.jsonl", texts(3))
    source, entries = open_input(str(tmp_path / "in"))
    plan = make_plan(source, entries, OPTIONS)
    assert [(shard.number, shard.file, shard.start) for shard in plan.shards] == [(0, "a.jsonl", 0), (1, "b.jsonl", 0)]
    assert [file.name for file in plan.files] == ["a.jsonl", "b.jsonl"]
    assert plan.input_schema.names == ["id", "text"]


def test_a_column_named_id_is_used_if_there_is_one_and_others_must_exist(tmp_path):
    source = open_input(str(write_jsonl(tmp_path / "in.jsonl", [{"text": "food", "list": [1]}])))
    assert make_plan(*source, OPTIONS).options.id == ""
    with pytest.raises(BulkError, match="there is no column 'key'; ID names one of: text, list"):
        make_plan(*source, replace(OPTIONS, id="key"))


def test_an_id_is_a_string_or_an_integer(tmp_path):
    columns = {
        "text": ["food"],
        "number": [1],
        "word": ["w"],
        "list": [["x"]],
        "time": pa.array([0], pa.timestamp("ns")),
    }
    pq.write_table(pa.table(columns), tmp_path / "in.parquet")
    source = open_input(str(tmp_path / "in.parquet"))
    for column in ("number", "word"):
        assert make_plan(*source, replace(OPTIONS, id=column)).options.id == column
    for column in ("list", "time"):
        with pytest.raises(BulkError, match=f"the column '{column}' holds .*; ID names one of strings or integers"):
            make_plan(*source, replace(OPTIONS, id=column))
