"""Estimates against what the jobs then read and use, on data sets that are easy and hard to sample."""

import csv
import gzip
import json
import random
from collections.abc import Callable, Sequence
from itertools import starmap
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.report.cost import BATCH, ONE_WORKER
from benchmarks.report.results import of_pace
from handler.bulk import estimate as module
from handler.bulk import plan, sample
from handler.bulk import rows as rows_module
from handler.bulk.estimate import REFERENCE, Actual, Estimate, estimate, reference_seconds
from handler.bulk.formats import read_schema, split
from handler.bulk.merge import group
from handler.bulk.plan import InputFile, Options, Plan, Shard
from handler.bulk.prices import STEP_SECONDS, Usage
from handler.bulk.receipts import Receipt
from handler.bulk.shard import Work, embed_shards
from handler.embedding.embedder import Embedder
from handler.settings import Settings
from handler.storage.uri import open_input, open_storage
from tests import tiny
from tests.unit.bulk.data import OPTIONS

WORDS = ["the", "food", "was", "good", "goods", *"abcdefghij"]
ROWS = 3000


def text_of(words: int) -> str:
    return " ".join(random.choices(WORDS, k=words))


def mixed() -> list[str]:
    return [text_of(random.choice([1, 2, 3, 5, 8, 30])) for _ in range(ROWS)]


def rising() -> list[str]:
    return [text_of(1 + 40 * row // ROWS) for row in range(ROWS)]


def write_jsonl(path: Path, texts: Sequence[str]) -> None:
    lines = [json.dumps({"id": str(row), "text": text}) for row, text in enumerate(texts)]
    content = "\n".join(lines).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def write_csv(path: Path, texts: Sequence[str]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["id", "text"], *([str(row), f'{text}, "q"\n'] for row, text in enumerate(texts))])


def write_parquet(path: Path, texts: Sequence[str]) -> None:
    pq.write_table(pa.table({"id": range(len(texts)), "text": texts}), path, row_group_size=700)


def write_skewed(folder: Path) -> None:
    """Write a file of short texts, a smaller one of long texts, and a tiny one."""
    write_jsonl(folder / "a.jsonl", [text_of(2) for _ in range(ROWS)])
    write_jsonl(folder / "b.jsonl", [text_of(60) for _ in range(ROWS // 10)])
    write_jsonl(folder / "c.jsonl", ["good", "food"])


DATA_SETS: dict[str, Callable[[Path], None]] = {
    "mixed lengths, JSONL": lambda folder: write_jsonl(folder / "a.jsonl", mixed()),
    "mixed lengths, gzip": lambda folder: write_jsonl(folder / "a.jsonl.gz", mixed()),
    "mixed lengths, CSV": lambda folder: write_csv(folder / "a.csv", mixed()),
    "mixed lengths, Parquet": lambda folder: write_parquet(folder / "a.parquet", mixed()),
    "rising lengths, JSONL": lambda folder: write_jsonl(folder / "a.jsonl", rising()),
    "rising lengths, Parquet": lambda folder: write_parquet(folder / "a.parquet", rising()),
    "skewed files, JSONL": write_skewed,
    "one row": lambda folder: write_jsonl(folder / "a.jsonl", ["good"]),
}


@pytest.fixture
def embedder():
    return tiny.embedder(Settings(workers=2, long_input="window", token_input="native", auth_mode="none"))


def make_plan(folder: Path, embedder: Embedder) -> Plan:
    """Plan a job with shards of 100 rows and 10 kB at most."""
    source, entries = open_input(str(folder))
    schema = read_schema(source, entries, "text")
    ranges = [(entry.name, *each) for entry in entries for each in split(source, entry, "text", 100, 10_000)]
    return Plan(
        options=Options("tiny", embedder.digest, tiny.HIDDEN),
        schema=schema.serialize().to_pybytes(),
        files=tuple(InputFile(entry.name, entry.size, entry.version) for entry in entries),
        shards=tuple(starmap(Shard, ((number, *each) for number, each in enumerate(ranges)))),
    )


def run(folder: Path, plan: Plan, embedder: Embedder) -> list[Receipt]:
    work = Work(open_storage(str(folder)), open_storage(str(folder / "_out")), plan, embedder, None)
    return [receipt for _, receipt in embed_shards(work, plan.shards)]


@pytest.mark.parametrize("name", DATA_SETS)
def test_rows_tokens_requests_and_dollars_are_within_a_quarter(tmp_path, monkeypatch, embedder, name):
    random.seed(name)
    DATA_SETS[name](tmp_path)
    monkeypatch.setattr(sample, "SAMPLE_BYTES", 60_000)  # of 100 to 300 kB
    monkeypatch.setattr(sample, "SAMPLE_ROWS", 800)
    plan = make_plan(tmp_path, embedder)
    monkeypatch.setattr(module, "PART_BYTES", 50_000)
    monkeypatch.setattr(module, "REFERENCE_MODEL", "tiny")  # seconds are a function of lengths, not of this machine
    expected = estimate(open_storage(str(tmp_path)), plan, embedder)
    receipts = run(tmp_path, plan, embedder)

    assert expected.rows == pytest.approx(sum(receipt.rows for receipt in receipts), rel=0.25)
    if name.endswith("Parquet"):
        assert round(expected.rows) == ROWS
    assert expected.tokens == pytest.approx(sum(receipt.tokens for receipt in receipts), rel=0.25)

    monkeypatch.setattr("handler.bulk.merge.PART_BYTES", 50_000)
    written = sorted((tmp_path / "_out/_job/shards").glob("*.parquet"))
    texts = [text for path in written for text in pq.read_table(path)["text"].to_pylist()]
    lengths = [sum(map(len, encoding.windows)) for encoding in embedder._tokenizer.encode(texts)]
    seconds = float(reference_seconds(np.array(lengths, float)).sum())
    actual = Usage(len(receipts), len(group(receipts, len(receipts))), seconds)
    for item, fact in zip(expected.usage.bill(), actual.bill(), strict=True):
        assert item.quantity == pytest.approx(fact.quantity, rel=0.25), item
    assert expected.usage.dollars() == pytest.approx(actual.dollars(), rel=0.25)


def test_the_recorded_pace_is_that_of_the_benchmark():
    assert of_pace().lengths(ONE_WORKER[BATCH]) == REFERENCE
    seconds = reference_seconds(np.array([64.0, 512.0]))
    np.testing.assert_allclose(seconds, [1 / REFERENCE[64], 2 / REFERENCE[256]])


def test_rows_that_a_request_would_be_refused_for_are_rejects(tmp_path):
    texts = [text_of(30) if row % 4 == 0 else "good food" for row in range(400)]
    write_jsonl(tmp_path / "a.jsonl", [*texts, *[""] * 100])
    embedder = tiny.embedder(Settings(long_input="error"))  # refuses texts of more than 16 tokens
    plan = make_plan(tmp_path, embedder)
    expected = estimate(open_storage(str(tmp_path)), plan, embedder)
    receipts = run(tmp_path, plan, embedder)
    assert sum(receipt.rejects for receipt in receipts) == 200
    assert expected.rejects == pytest.approx(200, rel=0.25)
    assert expected.tokens == pytest.approx(sum(receipt.tokens for receipt in receipts), rel=0.25)


def test_an_input_without_a_row_to_embed_costs_nothing_to_embed(tmp_path, embedder):
    write_jsonl(tmp_path / "a.jsonl", [""])
    expected = estimate(open_storage(str(tmp_path)), make_plan(tmp_path, embedder), embedder)
    assert (expected.rows, expected.rejects, expected.tokens, expected.seconds) == (1, 1, 0, 0)


def test_an_input_without_rows_takes_nothing(tmp_path, embedder):
    table = pa.table({"id": pa.array([], pa.int64()), "text": pa.array([], pa.string())})
    pq.write_table(table, tmp_path / "a.parquet")
    plan = make_plan(tmp_path, embedder)
    assert not plan.shards
    expected = estimate(open_storage(str(tmp_path)), plan, embedder)
    assert (expected.rows, expected.tokens, expected.sampled, expected.usage) == (0, 0, 0, Usage(0, 0, 0.0))
    assert expected.usage.duration(200) == STEP_SECONDS
    assert expected.lines()


def test_the_sample_is_bounded(tmp_path, monkeypatch, embedder):
    for number in range(40):
        write_jsonl(tmp_path / f"{number:02d}.jsonl", ["good food"] * 500)
    plan = make_plan(tmp_path, embedder)
    monkeypatch.setattr(sample, "SAMPLE_BYTES", 10_000)
    read = list(sample.sample(open_storage(str(tmp_path)), plan))
    assert len(read) == 16
    assert 100 < sum(len(stratum.rows) for stratum in read) < 400  # of 20,000


def test_the_pace_is_the_cpu_time_of_this_machine_for_another_model(tmp_path, embedder):
    write_jsonl(tmp_path / "a.jsonl", mixed())
    expected = estimate(open_storage(str(tmp_path)), make_plan(tmp_path, embedder), embedder)
    assert expected.measured
    assert 0 < expected.usage.seconds < 2 * 2.5 * expected.seconds  # two cores


def test_lines_show_this_machine_and_aws_side_by_side():
    usage = Usage(shards=10, parts=3, seconds=250.0)
    expected = Estimate(200_000, 3, 3_282_000, 125, usage, 4096, measured=False)
    first, head, time, *bill, total, assumed = expected.lines()
    assert first == "200,000 rows, 3 of them rejected, 3,282,000 tokens: as 4,096 rows suggest"
    assert head.split() == ["this", "machine", "AWS,", "200", "environments"]
    assert time.split() == ["time", "2", "min", "5", "s", "43", "s"]
    assert [line.split("  ")[0] for line in bill] == [f"{item.name}, {item.unit}" for item in usage.bill()]
    assert total.split() == ["dollars", "0", f"{usage.dollars():.4f}"]
    assert "recorded benchmark" in assumed


@pytest.mark.parametrize("on_aws", [False, True])
def test_the_fact_is_beside_the_estimate(on_aws):
    usage = Usage(shards=10, parts=3, seconds=250_000.0)
    expected = Estimate(200_000, 3, 3_282_000, 125, usage, 4096, measured=False)
    actual = Actual(200_001, 2, 3_281_111, 121.2, Usage(10, 3, 260_000.0) if on_aws else None)
    lines = [line.split() for line in expected.beside(actual)]
    assert lines[:4] == [
        ["estimated", "actual"],
        ["rows", "200,000", "200,001"],
        ["rejected", "3", "2"],
        ["tokens", "3,282,000", "3,281,111"],
    ]
    assert lines[4][-4:] == ["2", "min", "1", "s"]
    assert [line[0] for line in lines[5:]] == (["dollars"] if on_aws else [])


def test_a_sample_of_large_rows_is_bounded_and_stands_for_all(tmp_path):
    rows, size = 600, 100_000
    table = pa.table(
        {"id": range(rows), "text": mixed()[:rows], "other": [random.randbytes(size) for _ in range(rows)]}
    )
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=100)
    source, entries = open_input(str(tmp_path))
    strata = list(sample.sample(source, plan.make_plan(source, entries, OPTIONS)))
    assert sum(stratum.bytes for stratum in strata) < sample.SAMPLE_BYTES + rows_module.MAX_BYTES
    assert sum(stratum.weight * len(stratum.rows) for stratum in strata) == pytest.approx(rows)
