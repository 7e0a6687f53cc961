"""Shards of a batch: the responses of POST /v1/embeddings, independent of the other requests."""

import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from handler.api.app import create_app
from handler.bulk import batch_validate
from handler.bulk.batch_shard import missing, run_shard
from handler.bulk.batch_validate import validate
from handler.errors import BulkError, ModelMismatchError
from handler.models.catalog import Catalog
from tests import tiny
from tests.conftest import serve
from tests.unit.bulk.batches import DAY, NOW, SETTINGS, cancel, create, jsonl, line, results, run


@pytest.fixture(scope="module")
def models() -> Catalog:
    prompts = {"query": "the ", "passage": "good "}
    return Catalog.of([tiny.embedder(SETTINGS, prompts=prompts)], SETTINGS)


@pytest.fixture(scope="module")
def client(models: Catalog) -> Iterator[httpx2.Client]:
    with serve(create_app(SETTINGS, models)) as url, httpx2.Client(base_url=url) as http:
        yield http


BODIES: list[dict[str, Any]] = [
    {"input": "the food was good"},
    {"input": ["the food", "was good", "the food"], "encoding_format": "base64"},
    {"input": [6, 7, 8], "dimensions": 8},
    {"input": [[6, 7], [8]], "dimensions": 8, "encoding_format": "base64"},
    {"input": "a b c", "dimensions": 0, "user": "someone"},
    {"input": "the " * 40},
    {"input": ["a"] * 2048, "encoding_format": "base64"},
    {"input": "a b c", "input_type": "query"},
    {"input": "a b c", "output_dtype": "ubinary"},
    {"input": ["a b", "c"], "output_dtype": "float16", "encoding_format": "base64", "dimensions": 8},
    {"input": "a \u2028 b\u0000 é 漢"},
]
REFUSED: list[dict[str, Any]] = [
    {"input": ""},
    {"input": []},
    {"input": ["a"] * 2049},
    {"input": ["a", 1]},
    {"input": [10_000]},
    {"input": "a", "dimensions": 33},
    {"input": "a", "dimensions": "many"},
    {"input": "a", "encoding_format": "text"},
    {"input": "a", "input_type": "unknown"},
    {"input": "a", "output_dtype": "ubinary", "dimensions": 9},
    {"input": "a", "output_dtype": "text"},
]


@pytest.mark.parametrize("model", ["tiny", "text-embedding-ada-002", "tiny:query", f"tiny:passage@sha256:{'d' * 64}"])
def test_responses_are_those_of_online_requests_bit_for_bit(tmp_path, models, client, model):
    lines = [line(str(number), **{"model": model, **body}) for number, body in enumerate((*BODIES, *REFUSED))]
    folder = create(tmp_path, jsonl(lines))
    output, errors = results(folder, run(folder, models))
    refused = len(REFUSED) + (model.startswith("tiny:passage"))  # one asks for another prompt in its input_type
    assert (len(output), len(errors)) == (len(lines) - refused, refused)
    for each in (*output, *errors):
        online = client.post("/v1/embeddings", json=lines[int(each["custom_id"])]["body"])
        response = each["response"]
        assert (response["status_code"], response["body"], each["error"]) == (online.status_code, online.json(), None)


def test_body_has_the_bytes_of_the_online_response(tmp_path, models, client):
    folder = create(tmp_path, jsonl([line("a", "the food")]))
    validate(folder, models, NOW)
    run_shard(folder, models, 0, NOW)
    written = folder.storage.read(folder.path("shards/0.output"))
    assert client.post("/v1/embeddings", json=line("a", "the food")["body"]).content in written
    assert json.loads(written)["id"].startswith("batch_req_")
    assert json.loads(written)["response"]["request_id"].startswith("req_")


def test_shards_have_the_same_bytes_alone_and_together(tmp_path, models, monkeypatch):
    monkeypatch.setattr(batch_validate, "SHARD_INPUTS", 5)
    lines = jsonl(line(str(number), f"the {number}", dimensions=number % 3 * 8) for number in range(42))
    together, alone = create(tmp_path / "together", lines), create(tmp_path / "alone", lines)
    end = run(together, models)
    validate(alone, models, NOW)
    plan = alone.plan()
    assert plan
    assert len(plan.shards) == 9
    for shard in reversed(plan.shards):
        receipt = run_shard(alone, models, shard.number, NOW)
        assert run_shard(alone, models, shard.number, NOW) == receipt
    assert missing(alone, plan) == []
    first, second = results(together, end), results(alone, run(alone, models))
    for each in (*first[0], *second[0]):  # which have the batch's ID in them
        del each["id"], each["response"]["request_id"]
    assert first == second


def test_no_shard_starts_after_the_end_or_a_cancellation(tmp_path, models):
    folder = create(tmp_path, jsonl([line("a")]))
    assert run_shard(folder, models, 0, NOW) is None  # it is not valid yet
    validate(folder, models, NOW)
    assert run_shard(folder, models, 0, NOW + DAY) is None
    cancel(folder)
    assert run_shard(folder, models, 0, NOW) is None
    assert folder.receipts() == {}


def test_another_model_of_the_same_name_is_refused(tmp_path, models):
    folder = create(tmp_path, jsonl([line("a")]))
    validate(folder, models, NOW)
    other = tiny.embedder(SETTINGS)
    other.digest = "e" * 64
    with pytest.raises(ModelMismatchError):
        run_shard(folder, Catalog.of([other], SETTINGS), 0, NOW)


@pytest.mark.parametrize("changed", [b"", jsonl([line("a"), line("b")]), b'{"custom_id": 1}\n' * 9])
def test_input_that_is_not_what_was_planned_is_an_error(tmp_path, models, changed):
    folder = create(tmp_path, jsonl([line("a"), line("b"), line("c")]))
    validate(folder, models, NOW)
    folder.storage.write(folder.path("input"), changed)
    with pytest.raises(BulkError, match=r"changed|planned"):
        run_shard(folder, models, 0, NOW)
