"""Parts and the manifest: which shards a part has, that it holds their rows, and that nothing is lost."""

import json
import math
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from handler.bulk import merge, output
from handler.bulk.merge import Group, allowed_rejects, finish, group, write_part
from handler.bulk.receipts import file_sha256
from handler.bulk.shard import embed_shards
from handler.errors import BulkError
from tests.unit.bulk.data import texts, work, write_jsonl
from tests.unit.bulk.test_receipts import RECEIPT


def receipts(*sizes: int):
    return [replace(RECEIPT, size=size * 1_000_000) for size in sizes]


def test_a_part_ends_with_the_shard_that_fills_it():
    sizes = receipts(60, 60, 30, 200, 1, 1)
    assert group(sizes, 6) == [Group(0, 0, 3), Group(1, 3, 4), Group(2, 4, 6)]
    assert group(sizes, 7) == [Group(0, 0, 3), Group(1, 3, 4)]  # the seventh shard is missing
    assert group([], 0) == []


def test_groups_do_not_change_with_further_shards():
    sizes = receipts(*(10 + 7 * n % 60 for n in range(50)))
    whole = group(sizes, 50)
    assert [each.number for each in whole] == list(range(len(whole)))
    assert all(group(sizes[:count], 50) == [each for each in whole if each.end <= count] for count in range(51))


@pytest.fixture
def done(tmp_path):
    """Return a job of several shards that are all done, its rows and its receipts."""
    rows = [{"id": f"r{n}", "text": "" if n % 100 == 99 else row["text"]} for n, row in enumerate(texts(2000))]
    job = work(tmp_path, write_jsonl(tmp_path / "in.jsonl", rows), 500)
    receipts = [receipt for _, receipt in embed_shards(job, job.plan.shards)]
    assert len(receipts) > 2
    return job, rows, receipts


def test_a_part_holds_the_rows_of_its_shards_in_order(done, tmp_path):
    job, rows, receipts = done
    receipt = write_part(job.target, job.plan, Group(0, 0, len(receipts)))
    path = tmp_path / f"out/{job.plan.part_name(0)}.parquet"
    table = pq.read_table(path)
    assert table.column("id").to_pylist() == [row["id"] for row in rows if row["text"]]
    assert table.schema.metadata[b"source"] == b'["in.jsonl"]'
    assert (receipt.rows, receipt.rejects) == (2000, 20)
    assert (receipt.size, receipt.sha256) == (path.stat().st_size, file_sha256(path))
    assert (tmp_path / f"out/_texts/{job.plan.part_name(0)}.sha256").stat().st_size == 1980 * 32
    assert {path.suffix for path in (tmp_path / "out/_job/shards").iterdir()} == {".json"}  # receipts stay


def test_a_part_is_written_a_row_group_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(output, "GROUP_BYTES", 20_000)
    rows = [{**row, "other": "x" * 1000} for row in texts(1000)]
    job = work(tmp_path, write_jsonl(tmp_path / "in.jsonl", rows))
    _ = list(embed_shards(job, job.plan.shards))
    written: list[int] = []
    write = output.ParquetWriter.write

    def counted(writer: output.ParquetWriter, batch: pa.RecordBatch) -> None:
        written.append(batch.num_rows)
        write(writer, batch)

    monkeypatch.setattr(output.ParquetWriter, "write", counted)
    assert write_part(job.target, job.plan, Group(0, 0, len(job.plan.shards))).rows == 1000
    assert max(written) == output.BLOCK_ROWS  # of 20 KB and more


def test_a_part_is_written_once_and_cleans_up_after_a_run_that_was_killed(done, tmp_path):
    job, _, receipts = done
    part = Group(0, 0, len(receipts))
    receipt = write_part(job.target, job.plan, part)
    left = tmp_path / f"out/_job/shards/{job.plan.shard_name(0)}.parquet"
    left.touch()
    assert write_part(job.target, job.plan, part) == receipt
    assert not left.exists()


def test_a_part_with_other_rows_than_its_receipts_say_is_not_written(done, tmp_path):
    job, _, receipts = done
    shard = tmp_path / f"out/_job/shards/{job.plan.shard_name(0)}.parquet"
    pq.write_table(pq.read_table(shard).slice(1), shard)
    with pytest.raises(BulkError, match="its shards have 1,979 rows, and their receipts say 1,980"):
        write_part(job.target, job.plan, Group(0, 0, len(receipts)))
    assert not list((tmp_path / "out").glob("*.parquet"))


def test_a_damaged_shard_is_an_error_of_one_line(done, tmp_path):
    job, _, receipts = done
    shard = tmp_path / f"out/_job/shards/{job.plan.shard_name(0)}.parquet"
    shard.write_bytes(shard.read_bytes()[:-100])
    with pytest.raises(BulkError, match=f"{shard.name}: it cannot be read as Parquet"):
        write_part(job.target, job.plan, Group(0, 0, len(receipts)))


def test_the_manifest_sums_its_parts_and_is_the_same_but_for_the_cost(done, tmp_path, monkeypatch):
    job, _, receipts = done
    monkeypatch.setattr(merge, "PART_BYTES", receipts[0].size + 1)
    groups = group(receipts, len(receipts))
    assert len(groups) > 1
    for part in groups:
        write_part(job.target, job.plan, part)
    manifest = finish(job.target, job.plan, len(groups), "", {"seconds": 1})
    stored = json.loads((tmp_path / "out/_manifest.json").read_bytes())
    assert (stored["rows_in"], stored["rows_out"], stored["rejects"]) == (2000, 1980, 20)
    assert stored["tokens"] == sum(receipt.tokens for receipt in receipts)
    assert stored["options"]["digest"] == "d" * 64
    assert [part["sha256"] for part in stored["parts"]] == [
        file_sha256(path) for path in sorted((tmp_path / "out").glob("*.parquet"))
    ]
    assert sum(part["rows"] for part in stored["parts"]) == 1980
    again = finish(job.target, job.plan, len(groups), "", {"seconds": 2})
    assert replace(again, cost=manifest.cost) == manifest


def test_a_missing_part_is_no_finished_job(done, tmp_path):
    job, _, _ = done
    write_part(job.target, job.plan, Group(0, 0, 1))
    with pytest.raises(BulkError, match="1 of 2 parts are missing"):
        finish(job.target, job.plan, 2, "", {})
    assert not (tmp_path / "out/_manifest.json").exists()


@pytest.mark.parametrize(
    ("allowed", "fails"), [("", False), ("20", False), ("19", True), ("1%", False), ("0.9%", True)]
)
def test_max_rejects_fails_the_job_and_keeps_the_parts(done, tmp_path, allowed, fails):
    job, _, receipts = done
    write_part(job.target, job.plan, Group(0, 0, len(receipts)))
    if fails:
        with pytest.raises(BulkError, match=f"20 rows were rejected, and MAX_REJECTS={allowed} allows fewer"):
            finish(job.target, job.plan, 1, allowed, {})
    else:
        finish(job.target, job.plan, 1, allowed, {})
    assert (tmp_path / "out/_manifest.json").exists() != fails
    assert len(list((tmp_path / "out").glob("*.parquet"))) == 1


def test_max_rejects_is_a_number_or_a_percentage():
    assert [allowed_rejects(text, 200) for text in ("", "0", "7", "50%")] == [math.inf, 0, 7, 100]
    assert allowed_rejects("50%", math.inf) == math.inf
    for text in ("few", "-1", "nan", "%", "1%%"):
        with pytest.raises(BulkError, match=f"MAX_REJECTS is '{text}': write a number"):
            allowed_rejects(text, 200)


def test_vectors_of_the_layout_vectors_survive_the_merge(tmp_path):
    job = work(tmp_path, write_jsonl(tmp_path / "in.jsonl", texts(20)), layout="vectors")
    ((_, receipt),) = embed_shards(job, job.plan.shards)
    write_part(job.target, job.plan, Group(0, 0, 1))
    table = pq.read_table(tmp_path / f"out/{job.plan.part_name(0)}.parquet")
    assert table.schema.field("values").type == pa.list_(pa.float32())
    assert receipt.written == table.num_rows == 20
