"""Plans: their digest, their names, and how they are stored."""

from dataclasses import replace

from handler.bulk.plan import InputFile, Options, Plan, Shard

OPTIONS = Options(
    model="tiny",
    digest="d" * 64,
    dimensions=32,
    text="text",
    id="id",
    input_type="",
    long_input="error",
    layout="columns",
)
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
