"""Chunks: which rows are rejected, and that the others have the vectors of requests."""

from dataclasses import replace
from threading import Event

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from handler.bulk.chunk import Embedded, embed_chunk, read_chunks
from handler.bulk.previous import open_previous
from handler.bulk.shard import Work
from handler.embedding import tokenization
from handler.embedding.cl100k import MAX_CHARACTERS
from handler.errors import CancelledRequestError, RequestError
from tests import tiny
from tests.unit.bulk.data import texts, work, write_jsonl
from tests.unit.bulk.outputs import DIMENSIONS, vectors_of, write_output


def embed(work: Work) -> list[Embedded]:
    chunks = read_chunks(work.source, work.plan, work.plan.shards, work.previous)
    return [embed_chunk(chunk, work.embedder, work.plan.options, Event()) for chunk in chunks]


def test_every_row_that_a_request_would_be_refused_for_is_rejected(tmp_path):
    long = "a " * 20  # of 16 tokens
    lines = [
        {"id": "good", "text": "the food was good"},
        {"id": "null", "text": None},
        {"id": "empty", "text": ""},
        '{"id": "cut", "text": "the',
        {"id": None, "text": "a" * (MAX_CHARACTERS + 1)},
        {"id": "long", "text": long},
        {"id": "good too", "text": "the food"},
        {"id": "long again", "text": long},
    ]
    path = write_jsonl(tmp_path / "in.jsonl", lines)
    _, embedded = embed(work(tmp_path, path))
    starts = [match for match, line in zip(positions(path.read_bytes()), lines, strict=True) if line]
    assert [row.id for row in embedded.chunk.rows] == ["good", "good too"]
    assert embedded.chunk.batch.column("id").to_pylist() == ["good", "good too"]
    assert [(row.id, row.position, row.code) for row in embedded.chunk.rejected] == [
        ("null", starts[1], "invalid_type"),
        ("empty", starts[2], "empty_input"),
        (f"in.jsonl:{starts[3]}", starts[3], "invalid_json"),
        (f"in.jsonl:{starts[4]}", starts[4], "input_too_long"),
        ("long", starts[5], "context_length_exceeded"),
        ("long again", starts[7], "context_length_exceeded"),
    ]
    assert {row.file for row in embedded.chunk.rejected} == {"in.jsonl"}
    alone = [tiny.embedder(1).embed([text]).vectors for text in ("the food was good", "the food")]
    np.testing.assert_array_equal(embedded.vectors, np.concatenate(alone))


def positions(content: bytes) -> list[int]:
    """Return where each line starts."""
    return [0, *(index + 1 for index, byte in enumerate(content[:-1]) if byte == ord("\n"))]


def test_a_chunk_of_rejects_alone_has_no_vectors(tmp_path):
    path = write_jsonl(tmp_path / "in.jsonl", [{"text": ""}, {"text": "a " * 20}])
    _, embedded = embed(work(tmp_path, path, dimensions=8))
    assert embedded.vectors.shape == (0, 8)
    assert embedded.tokens == 0
    assert len(embedded.chunk.rejected) == 2


def test_invalid_utf8_of_parquet_is_rejected(tmp_path):
    column = pa.array([b"the food", b"\xff\xfe", b"was good"]).cast(pa.string(), safe=False)
    pq.write_table(pa.table({"text": column}), tmp_path / "in.parquet")
    embedded = embed(work(tmp_path, tmp_path / "in.parquet"))
    assert [row.text for each in embedded for row in each.chunk.rows] == ["the food", "was good"]
    (rejected,) = [row for each in embedded for row in each.chunk.rejected]
    assert (rejected.id, rejected.code) == ("in.parquet:1", "invalid_utf8")


def test_long_texts_follow_the_jobs_policy(tmp_path):
    path = write_jsonl(tmp_path / "in.jsonl", [{"text": "a " * 20}])
    _, truncated = embed(work(tmp_path, path, long_input="truncate"))
    np.testing.assert_array_equal(truncated.vectors, tiny.embedder(1).embed(["a " * 14]).vectors)
    assert truncated.tokens == 16


def test_dimensions_and_prompts_are_those_of_a_request(tmp_path):
    path = write_jsonl(tmp_path / "in.jsonl", [{"text": "food"}])
    job = work(tmp_path, path, dimensions=8, input_type="search_query")
    prompted = tiny.embedder(1, prompts={"query": "the "})
    _, embedded = embed(replace(job, embedder=prompted))
    np.testing.assert_array_equal(embedded.vectors, tiny.embedder(1).embed(["the food"], 8).vectors)


def test_more_than_a_request_takes_is_embedded_in_halves(tmp_path, monkeypatch):
    job = work(tmp_path, write_jsonl(tmp_path / "in.jsonl", texts(50)))
    _, whole = embed(job)
    monkeypatch.setattr(tokenization, "MAX_REQUEST_TOKENS", 20)
    _, halves = embed(job)
    np.testing.assert_array_equal(halves.vectors, whole.vectors)
    assert halves.tokens == whole.tokens


def test_an_error_that_is_no_texts_fault_is_raised(tmp_path):
    job = work(tmp_path, write_jsonl(tmp_path / "in.jsonl", texts(2)), dimensions=10_000)
    with pytest.raises(RequestError, match="'dimensions': 10000 is not between"):
        embed(job)


def test_known_vectors_are_not_computed(tmp_path):
    rows = [*texts(3), {"text": "a " * 20}]
    job = work(tmp_path, write_jsonl(tmp_path / "in.jsonl", rows), dimensions=DIMENSIONS)
    _, fresh = embed(job)
    second = [rows[1]["text"]]
    previous = open_previous(write_output(tmp_path / "earlier", [second]), job.plan.options)
    _, embedded = embed(replace(job, previous=previous))
    np.testing.assert_array_equal(embedded.vectors, [fresh.vectors[0], *vectors_of(second), fresh.vectors[2]])
    assert embedded.tokens == fresh.tokens - 3
    assert len(embedded.chunk.rejected) == 1
    every = [row["text"] for row in rows[:3]]
    previous = open_previous(write_output(tmp_path / "all", [every]), job.plan.options)
    _, embedded = embed(replace(job, previous=previous))
    np.testing.assert_array_equal(embedded.vectors, vectors_of(every))


def test_embedding_stops_at_once(tmp_path):
    job = work(tmp_path, write_jsonl(tmp_path / "in.jsonl", texts(3)))
    (_, chunk) = read_chunks(job.source, job.plan, job.plan.shards, None)
    stop = Event()
    stop.set()
    with pytest.raises(CancelledRequestError):
        embed_chunk(chunk, job.embedder, job.plan.options, stop)
