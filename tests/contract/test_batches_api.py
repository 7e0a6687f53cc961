"""Batches over HTTP, without what runs them: OpenAI's client, fields and nulls, idempotency keys, owners, refusals."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import pytest

from handler.batches.records import BatchEnd, BatchOutcome, BatchPlan, BatchShard, LineError
from handler.errors import BulkError
from handler.storage.folder import Folder
from tests.conftest import serve
from tests.contract.test_files import ALICE, BOB, KEYS, connect
from tests.stored import build

ASKED: dict[str, Any] = {"input_file_id": "file-1", "endpoint": "/v1/embeddings", "completion_window": "24h"}
TIMES = ("in_progress", "finalizing", "completed", "failed", "expired", "cancelling", "cancelled")


def test_a_new_batch_has_all_fields(sdk, http, runner, storage):
    batch = sdk.batches.create(**ASKED, metadata={"a": "b"})
    expected = {
        "id": batch.id,
        "object": "batch",
        "endpoint": "/v1/embeddings",
        "model": None,
        "errors": None,
        "input_file_id": "file-1",
        "completion_window": "24h",
        "status": "validating",
        "output_file_id": None,
        "error_file_id": None,
        "created_at": batch.created_at,
        "expires_at": batch.created_at + 86_400,
        **{f"{name}_at": None for name in TIMES},
        "request_counts": {"total": 0, "completed": 0, "failed": 0},
        "usage": {
            "input_tokens": 0,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": 0,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": 0,
        },
        "metadata": {"a": "b"},
    }
    assert http.get(f"/v1/batches/{batch.id}").json() == expected
    assert sdk.batches.retrieve(batch.id) == batch
    (started,) = runner.started
    assert json.loads((Path(started) / "batch.json").read_text())["id"] == batch.id
    assert started.startswith(f"{storage.path}/owners/")


def test_a_batch_shows_how_far_it_is(sdk, runner):
    batch = sdk.batches.create(**ASKED)
    (uri,) = runner.started
    run, at = Folder(Path(uri)), batch.created_at
    plan = BatchPlan(at + 1, "tiny", "d", 30, (BatchShard(0, 0, 9, 10), BatchShard(1, 9, 20, 20)), "file-o", "file-e")
    run.write("plan.json", plan.to_json())
    run.write("shards/0.9.1.500", b"")
    now = sdk.batches.retrieve(batch.id)
    assert (now.status, now.model, now.in_progress_at) == ("in_progress", "tiny", at + 1)
    assert now.request_counts.to_dict() == {"total": 30, "completed": 9, "failed": 1}
    run.write("outcome.json", BatchOutcome(at + 2, "completed", (0, 1)).to_json())
    assert sdk.batches.retrieve(batch.id).status == "finalizing"
    run.write("end.json", BatchEnd(at + 3, "completed", 29, 1, 900, "file-o", "file-e").to_json())
    now = sdk.batches.retrieve(batch.id)
    assert (now.status, now.finalizing_at, now.completed_at) == ("completed", at + 2, at + 3)
    assert (now.output_file_id, now.error_file_id, now.usage.total_tokens) == ("file-o", "file-e", 900)
    assert now.request_counts.to_dict() == {"total": 30, "completed": 29, "failed": 1}
    with pytest.raises(openai.ConflictError, match="Cannot cancel a batch with status 'completed'"):
        sdk.batches.cancel(batch.id)


@pytest.mark.parametrize("ending", ["completed", "failed", "expired", "cancelled"])
def test_an_ending_stamps_its_own_time(sdk, runner, ending):
    batch = sdk.batches.create(**ASKED)
    Folder(Path(runner.started[0])).write("end.json", BatchEnd(batch.created_at + 5, ending).to_json())
    now = sdk.batches.retrieve(batch.id).to_dict()
    assert now["status"] == ending
    times = {name: now[f"{name}_at"] for name in TIMES}
    assert {name: at for name, at in times.items() if at is not None} == {ending: batch.created_at + 5}


def test_an_invalid_input_is_listed_by_line(sdk, runner):
    batch = sdk.batches.create(**ASKED)
    errors = (LineError("invalid_json_line", "No JSON.", None, 7), LineError("empty_file", "Empty.", "file_id"))
    Folder(Path(runner.started[0])).write("end.json", BatchEnd(1, "failed", errors=errors).to_json())
    assert sdk.batches.retrieve(batch.id).errors.to_dict() == {
        "object": "list",
        "data": [
            {"code": "invalid_json_line", "message": "No JSON.", "param": None, "line": 7},
            {"code": "empty_file", "message": "Empty.", "param": "file_id", "line": None},
        ],
    }


def test_a_batch_is_cancelled_and_its_run_told(sdk, http, runner):
    batch = sdk.batches.create(**ASKED)
    cancelled = sdk.batches.cancel(batch.id)
    assert (cancelled.status, cancelled.cancelling_at is not None) == ("cancelling", True)
    assert sdk.batches.cancel(batch.id) == cancelled
    assert runner.started == [runner.started[0]] * 3
    Folder(Path(runner.started[0])).write("end.json", BatchEnd(1, "cancelled").to_json())
    assert sdk.batches.cancel(batch.id).status == "cancelled"
    Folder(Path(runner.started[0])).write("end.json", BatchEnd(1, "failed").to_json())
    response = http.post(f"/v1/batches/{batch.id}/cancel")
    assert (response.status_code, response.headers["x-should-retry"]) == (409, "false")
    assert response.json()["error"]["type"] == "invalid_request_error"


def test_pages_are_iterated_by_the_client(sdk, http, monkeypatch):
    created: list[str] = []
    for second in range(5):
        monkeypatch.setattr("handler.api.stored.time.time", lambda second=second: 1_780_000_000 + second)
        created.insert(0, sdk.batches.create(**ASKED).id)
    assert [batch.id for batch in sdk.batches.list(limit=2)] == created
    assert [batch.id for batch in sdk.batches.list(after=created[1])] == created[2:]
    page = http.get("/v1/batches?limit=5").json()
    assert (page["first_id"], page["last_id"], page["has_more"]) == (created[0], created[4], False)
    for query, param in (("limit=101", "limit"), ("limit=0", "limit"), ("after=x", "after")):
        response = http.get(f"/v1/batches?{query}")
        assert (response.status_code, response.json()["error"]["param"]) == (400, param)


@pytest.mark.parametrize(
    ("changes", "code", "param"),
    [
        ({"endpoint": "/v1/chat/completions"}, "invalid_value", "endpoint"),
        ({"completion_window": "1h"}, "invalid_value", "completion_window"),
        ({"metadata": {"tags": ["a"]}}, "invalid_type", "metadata.tags"),
        (
            {"output_expires_after": {"anchor": "created_at", "seconds": 5}},
            "invalid_value",
            "output_expires_after.seconds",
        ),
        ({"input_file_id": None}, "invalid_type", "input_file_id"),
    ],
)
def test_invalid_batches_are_refused_at_once(http, runner, changes, code, param):
    response = http.post("/v1/batches", json=ASKED | changes)
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (400, code, param)
    assert not runner.started
    assert http.get("/v1/batches").json()["data"] == []


def test_a_repeated_request_with_a_key_finds_its_batch(sdk, http, runner):
    key = {"Idempotency-Key": "plugh"}
    first = sdk.batches.create(**ASKED, extra_headers=key)
    assert sdk.batches.create(**ASKED, extra_headers=key) == first
    assert sdk.batches.create(**ASKED) != first
    response = http.post("/v1/batches", json=ASKED | {"metadata": {"a": "b"}}, headers=key)
    assert (response.status_code, response.headers["x-should-retry"]) == (409, "false")
    assert response.json()["error"]["code"] == "idempotency_key_in_use"
    assert len(list(sdk.batches.list())) == 2
    assert len(set(runner.started)) == 2
    empty = [sdk.batches.create(**ASKED, extra_headers={"Idempotency-Key": ""}).id for _ in range(2)]
    assert len(set(empty)) == 2


def test_two_requests_with_one_key_at_once_make_one_batch(sdk):
    def create(_: int) -> str:
        batch_id: str = sdk.batches.create(**ASKED, extra_headers={"Idempotency-Key": "plugh"}).id
        return batch_id

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(create, range(24)))) == 1
    assert len(list(sdk.batches.list())) == 1


def test_a_batch_that_cannot_run_is_not_created(sdk, http, runner):
    runner.error = BulkError("Step Functions does not respond")
    response = http.post("/v1/batches", json=ASKED)
    assert (response.status_code, response.json()["error"]["code"]) == (503, "unavailable")
    assert response.headers["retry-after"] == "5"
    assert not list(sdk.batches.list())
    key = {"Idempotency-Key": "plugh"}
    assert http.post("/v1/batches", json=ASKED, headers=key).status_code == 503
    runner.error = None
    assert sdk.batches.create(**ASKED, extra_headers=key).id == runner.started[1].rpartition("/")[2]
    assert runner.started[1] == runner.started[2]


@pytest.mark.parametrize("seconds", [15 * 60, 86_400])
@pytest.mark.parametrize("listed", [False, True])
def test_a_batch_that_seems_to_be_stuck_is_run_again(sdk, runner, monkeypatch, seconds, listed):
    batch = sdk.batches.create(**ASKED)
    run = Folder(Path(runner.started[0]))
    if seconds == 86_400:
        run.write("plan.json", BatchPlan(1, "tiny", "d", 30, (), "file-o", "file-e").to_json())
    look = (lambda: list(sdk.batches.list())) if listed else lambda: sdk.batches.retrieve(batch.id)
    monkeypatch.setattr("handler.api.stored.time.time", lambda: batch.created_at + seconds - 1)
    look()
    assert len(runner.started) == 1
    monkeypatch.setattr("handler.api.stored.time.time", lambda: batch.created_at + seconds)
    look()
    assert runner.started == [runner.started[0]] * 2
    run.write("end.json", BatchEnd(1, "expired").to_json())
    look()
    assert len(runner.started) == 2


def test_other_keys_see_nothing(storage):
    with serve(build(storage.path, auth_mode="api-key", api_keys=KEYS)) as url:
        alice, bob = (connect(url, key) for key in (ALICE, BOB))
        with alice, bob:
            key = {"Idempotency-Key": "plugh"}
            batch = alice.batches.create(**ASKED, extra_headers=key)
            for call in (bob.batches.retrieve, bob.batches.cancel):
                with pytest.raises(openai.NotFoundError, match="No batch found"):
                    call(batch.id)
            assert not list(bob.batches.list())
            assert bob.batches.create(**ASKED, extra_headers=key).id != batch.id


@pytest.mark.parametrize("batch_id", ["x", "batch_", "batch_" + "0" * 32, "a" * 5000, "%00", "é", "file-" + "0" * 32])
def test_what_is_no_id_is_not_found(http, batch_id):
    for method, path in (("GET", ""), ("POST", "/cancel")):
        response = http.request(method, f"/v1/batches/{batch_id}{path}")
        assert (response.status_code, response.json()["error"]["param"]) == (404, "batch_id")
        assert len(response.content) < 500
