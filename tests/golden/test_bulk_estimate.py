"""The estimate of a job's seconds against the processor's time that the job takes, with the real model."""

import random
import time
from dataclasses import replace
from pathlib import Path

import pytest

from handler.bulk import estimate as module
from handler.bulk.estimate import estimate
from handler.bulk.plan import make_plan
from handler.bulk.shard import Work, embed_shards
from handler.embedding.embedder import Embedder
from handler.settings import Settings
from handler.storage.uri import open_input, open_storage
from tests.unit.bulk.data import OPTIONS, write_jsonl

WORDS = Path(__file__).read_text().split()


def test_seconds_are_within_a_quarter_by_processor_time(tmp_path, monkeypatch):
    from handler.artifacts.resolver import load

    random.seed(7)
    rows = [
        {"id": str(number), "text": " ".join(random.choices(WORDS, k=random.choice([2, 5, 9, 30])))}
        for number in range(1500)
    ]
    source, entries = open_input(str(write_jsonl(tmp_path / "in.jsonl", rows)))
    settings = Settings(workers=1)
    artifacts = load(settings.models[0], settings)
    embedder = Embedder(artifacts, settings)
    embedder.warm_up()
    options = replace(OPTIONS, model=artifacts.manifest.id, digest=artifacts.digest, dimensions=384)
    plan = make_plan(source, entries, options)
    monkeypatch.setattr(module, "REFERENCE_MODEL", "another model")  # so that this machine's pace counts
    expected = estimate(source, plan, embedder)
    started = time.process_time()
    (receipt,) = (
        each for _, each in embed_shards(Work(source, open_storage(str(tmp_path / "out")), plan, embedder), plan.shards)
    )
    assert expected.tokens == pytest.approx(receipt.tokens, rel=0.25)
    assert expected.usage.seconds == pytest.approx(time.process_time() - started, rel=0.25)
