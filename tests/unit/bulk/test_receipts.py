"""Receipts: how they are stored, found and summed."""

from dataclasses import replace

from handler.bulk.receipts import PARTS, SHARDS, Receipt, file_sha256, part_receipts, shard_receipts, total
from handler.storage.uri import open_storage
from tests.unit.bulk.test_plan import PLAN

RECEIPT = Receipt(rows=10, rejects=2, reused=3, tokens=70, size=1000, sha256="a" * 64, seconds=1.5)


def test_receipts_are_found_by_the_plans_names_only(tmp_path):
    target = open_storage(str(tmp_path))
    second = replace(RECEIPT, rows=11)
    target.write(f"{SHARDS}{PLAN.shard_name(1)}.json", second.to_json())
    target.write(f"{SHARDS}{PLAN.shard_name(1)}.parquet", b"")
    target.write(f"{SHARDS}ffffffff-000000-dddddddd.json", RECEIPT.to_json())
    target.write(f"{PARTS}{PLAN.part_name(0)}.json", RECEIPT.to_json())
    target.write(f"{PARTS}{PLAN.part_name(1)}.json", RECEIPT.to_json())
    assert shard_receipts(target, PLAN) == {1: second}
    assert part_receipts(target, PLAN, parts=1) == {0: RECEIPT}


def test_nothing_is_done_in_a_folder_that_does_not_exist(tmp_path):
    assert shard_receipts(open_storage(str(tmp_path / "new")), PLAN) == {}


def test_sum_has_the_size_of_its_own_file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    summed = Receipt(rows=20, rejects=4, reused=6, tokens=140, size=3, sha256=file_sha256(path), seconds=3.0)
    assert total([RECEIPT, RECEIPT], path) == summed
    assert summed.written == 16
    assert file_sha256(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
