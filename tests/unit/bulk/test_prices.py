"""The requests to S3 that the price of a job counts, against those that shards and parts make."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from handler.bulk import shard
from handler.bulk.chunk import Chunk, Embedded
from handler.bulk.merge import Group, write_part
from handler.bulk.plan import make_plan
from handler.bulk.prices import MERGE_GETS, PART_PUTS, SHARD_GETS, SHARD_PUTS
from handler.bulk.shard import Work, embed_shard
from handler.storage import s3_client
from handler.storage.uri import open_input, open_storage
from tests import s3 as local_s3
from tests import tiny
from tests.unit.bulk.data import OPTIONS, write_jsonl

pytestmark = pytest.mark.emulated

ROWS, TOKENS, DIMENSIONS = 19_500, 64, 384
JOB_AND_PLAN = 3  # requests of the function on AWS, which are not made here


def random_vectors(chunk: Chunk, **_: Any) -> Embedded:
    """Return vectors that are as hard to compress as real ones."""
    vectors = np.random.default_rng(chunk.position).normal(size=(len(chunk.rows), DIMENSIONS))
    return Embedded(chunk, vectors.astype(np.float32), TOKENS * len(chunk.rows))


@pytest.fixture
def requests(monkeypatch) -> Iterator[Counter[str]]:
    """Count the requests to an S3 server by operation."""
    counted: Counter[str] = Counter()

    def count(event_name: str, **_: Any) -> None:
        counted[event_name.rpartition(".")[2]] += 1

    with local_s3.serve() as server:
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        s3_client.make_client.cache_clear()
        s3_client.client().meta.events.register("before-send.s3", count)
        yield counted
    s3_client.make_client.cache_clear()


def test_a_shard_and_a_part_make_the_requests_that_are_counted(requests, tmp_path, monkeypatch):
    monkeypatch.setattr(shard, "embed_chunk", random_vectors)
    write_jsonl(tmp_path / "in.jsonl", [{"id": str(row), "text": "word " * (TOKENS - 2)} for row in range(ROWS)])
    s3_client.client().upload_file(str(tmp_path / "in.jsonl"), local_s3.BUCKET, "in/in.jsonl")
    source, entries = open_input(f"s3://{local_s3.BUCKET}/in")
    target = open_storage(f"s3://{local_s3.BUCKET}/out")
    plan = make_plan(source, entries, replace(OPTIONS, dimensions=DIMENSIONS))
    assert len(plan.shards) == 1
    requests.clear()

    embed_shard(Work(source, target, plan, tiny.embedder()), plan.shards[0])
    assert requests["GetObject"] + requests["HeadObject"] + JOB_AND_PLAN == pytest.approx(SHARD_GETS, rel=0.25)
    assert requests["PutObject"] + requests["ListObjectsV2"] == SHARD_PUTS
    requests.clear()

    write_part(target, plan, Group(0, 0, 1))
    assert requests["GetObject"] + requests["HeadObject"] == pytest.approx(MERGE_GETS, rel=0.25)
    assert requests["PutObject"] + requests["ListObjectsV2"] == PART_PUTS
