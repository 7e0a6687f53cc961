"""Shards: their files, which depend on the plan and the shard alone, and their order of commitment."""

import json
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from handler.bulk.receipts import Receipt, file_sha256
from handler.bulk.shard import embed_shard, embed_shards
from handler.errors import BulkError
from tests.unit.bulk.data import texts, work, write_jsonl


def files(folder: Path) -> dict[str, Path]:
    return {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}


def test_a_shard_has_a_parquet_file_texts_rejects_and_a_receipt(tmp_path):
    rows = [*texts(5), {"id": "bad", "text": ""}]
    job = work(tmp_path, write_jsonl(tmp_path / "in.jsonl", rows))
    receipt = embed_shard(job, job.plan.shards[0])
    name, out = job.plan.shard_name(0), files(tmp_path / "out")
    assert sorted(out) == [
        f"_job/shards/{name}.json",
        f"_job/shards/{name}.parquet",
        f"_job/shards/{name}.sha256",
        f"_rejects/{name}.jsonl",
    ]
    parquet = out[f"_job/shards/{name}.parquet"]
    assert Receipt.from_json(out[f"_job/shards/{name}.json"].read_bytes()) == receipt
    assert (receipt.rows, receipt.rejects, receipt.reused) == (6, 1, 0)
    assert (receipt.size, receipt.sha256) == (parquet.stat().st_size, file_sha256(parquet))
    table = pq.read_table(parquet)
    assert table.column("text").to_pylist() == [row["text"] for row in texts(5)]
    assert table.schema.field("embedding").type == pa.list_(pa.float32(), 32)
    assert json.loads(table.schema.metadata[b"source"]) == ["in.jsonl"]
    assert table.schema.metadata[b"digest"] == b"d" * 64
    assert len(out[f"_job/shards/{name}.sha256"].read_bytes()) == 5 * 32
    rejected = json.loads(out[f"_rejects/{name}.jsonl"].read_text())
    assert rejected == {
        "id": "bad",
        "file": "in.jsonl",
        "position": rejected["position"],
        "code": "empty_input",
        "message": "Invalid 'input': it is an empty string.",
    }


@pytest.mark.parametrize("layout", ["columns", "vectors"])
def test_a_shards_bytes_do_not_depend_on_who_embeds_it_or_with_what_others(tmp_path, layout):
    source = write_jsonl(tmp_path / "in.jsonl", texts(3000))
    together, alone = (work(tmp_path / each, source, 700, layout=layout) for each in ("together", "alone"))
    assert len(together.plan.shards) > 3
    dict(embed_shards(together, together.plan.shards))
    for shard in reversed(alone.plan.shards):
        embed_shard(replace(alone, embedder=work(tmp_path, source).embedder), shard)
    first, second = (
        {name: path.read_bytes() for name, path in files(tmp_path / each).items()} for each in ("together", "alone")
    )
    assert first.keys() == second.keys()
    assert all(second[name] == content for name, content in first.items() if not name.endswith(".json"))


def test_a_shard_that_is_done_is_not_embedded_again(tmp_path):
    job = work(tmp_path, write_jsonl(tmp_path / "in.jsonl", texts(5)))
    receipt = embed_shard(job, job.plan.shards[0])
    (tmp_path / "in.jsonl").unlink()
    assert embed_shard(job, job.plan.shards[0]) == receipt


def test_a_shard_without_rows_has_a_receipt_too(tmp_path):
    (tmp_path / "in.jsonl").write_text('{"text": "food"}\n\n\n\n\n\n\n\n\n')
    job = work(tmp_path, tmp_path / "in.jsonl", 1)
    shards = job.plan.shards
    assert shards
    empty = replace(job.plan, shards=(*shards, replace(shards[-1], number=len(shards), start=20, end=22)))
    receipts = [receipt for _, receipt in embed_shards(replace(job, plan=empty), empty.shards)]
    assert receipts[-1].rows == 0
    assert sum(receipt.rows for receipt in receipts) == 1


def test_an_error_of_any_stage_is_raised_and_leaves_no_receipt(tmp_path):
    job = work(tmp_path, write_jsonl(tmp_path / "in.jsonl", texts(5)))
    (tmp_path / "in.jsonl").write_text('{"text": "changed"}\n')
    with pytest.raises(BulkError, match=r"in.jsonl.* changed"):
        embed_shard(job, job.plan.shards[0])
    assert not list((tmp_path / "out").rglob("*.json"))
    assert not list((tmp_path / "out/_job/tmp").iterdir())


def test_closing_stops_within_a_second_and_leaves_no_temporary_file(tmp_path):
    job = work(tmp_path, write_jsonl(tmp_path / "in.jsonl", texts(3000)), 700)
    shards = embed_shards(job, job.plan.shards)
    next(shards)
    shards.close()
    assert not list((tmp_path / "out/_job/tmp").iterdir())
    assert len(list((tmp_path / "out/_job/shards").glob("*.json"))) == 1
