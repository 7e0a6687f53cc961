"""Files and batches whose storage fails: 503, in bounded time, that says when to retry; and then nothing is lost."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import openai
import pytest

from handler.storage import s3_client
from tests import process, raw_http, s3
from tests.conftest import serve
from tests.contract.test_files import LINES
from tests.s3 import BUCKET, S3, Fault, Relay, error, reset, stall
from tests.stored import FORM, Recorder, build, form

BATCH: dict[str, Any] = {"input_file_id": "file-1", "endpoint": "/v1/embeddings", "completion_window": "24h"}
UPLOAD: dict[str, Any] = {"filename": "a.jsonl", "mime_type": "application/jsonl", "purpose": "batch"}
BODY = form(("purpose", None, b"batch"), ("file", "a.jsonl", LINES))
FAULTS: dict[str, Fault] = {
    "503": error(503, "SlowDown"),
    "403": error(403, "AccessDenied"),
    "reset": reset,
    "stalled": stall,
}
without_body = error(503, "SlowDown")  # a response to HEAD has none that could break off
NO_SPACE = (
    "import resource, sys; sys.dont_write_bytecode = True; resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))"
)


@pytest.fixture(scope="module")
def bucket() -> Iterator[S3]:
    with s3.serve() as server:
        yield server


@pytest.fixture
def relay(bucket: S3, monkeypatch: pytest.MonkeyPatch) -> Iterator[Relay]:
    """Route the service's client through the relay, with short timeouts."""
    monkeypatch.setattr(s3_client, "ONLINE", (1, 1, 2))
    bucket.reset()
    with s3.storage_relay(bucket, monkeypatch) as running:
        yield running


@contextmanager
def service(runner: Recorder | None = None) -> Iterator[openai.OpenAI]:
    app = build(f"s3://{BUCKET}/batches", runner)
    with serve(app) as url, openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture
def sdk(relay: Relay) -> Iterator[openai.OpenAI]:
    assert relay
    with service() as client:
        yield client


@pytest.mark.emulated
def test_everything_works_on_s3(sdk, tmp_path, bucket):
    files = [sdk.files.create(file=("a.jsonl", LINES), purpose="batch") for _ in range(3)]
    assert sdk.files.retrieve(files[0].id) == files[0]
    assert {file.id for file in sdk.files.list(limit=2)} >= {file.id for file in files}
    assert sdk.files.content(files[0].id).content == LINES
    assert sdk.files.delete(files[0].id).deleted
    with pytest.raises(openai.NotFoundError):
        sdk.files.content(files[0].id)
    lines = LINES * (11_000_000 // len(LINES))
    (tmp_path / "a.jsonl").write_bytes(lines)
    upload = sdk.uploads.upload_file_chunked(
        file=tmp_path / "a.jsonl", mime_type="application/jsonl", purpose="batch", part_size=4 << 20
    )
    assert sdk.files.content(upload.file.id).content == lines
    first, second = (sdk.batches.create(**BATCH, extra_headers={"Idempotency-Key": "a"}) for _ in range(2))
    assert first == second == sdk.batches.retrieve(first.id)
    assert [batch.id for batch in sdk.batches.list()] == [first.id]
    assert sdk.batches.cancel(first.id).status == "cancelling"
    stored = bucket.client.list_objects_v2(Bucket=BUCKET)["Contents"]
    assert all(each["Key"].startswith(("batches/owners/", "batches/uploads/")) for each in stored)
    assert not [each for each in stored if "/part_" in each["Key"]]
    assert not bucket.client.list_multipart_uploads(Bucket=BUCKET).get("Uploads")


@pytest.mark.emulated
def test_content_of_a_large_file_is_a_redirect_to_the_bucket(sdk, relay):
    lines = LINES * ((4 << 20) // len(LINES) + 1)
    file = sdk.files.create(file=("a.jsonl", lines), purpose="batch")
    response = httpx2.get(f"{sdk.base_url}files/{file.id}/content")
    assert (response.status_code, response.content) == (302, b"")
    assert f"/{file.id}?" in response.headers["location"]
    assert httpx2.get(response.headers["location"]).content == lines
    assert relay.requests


@contextmanager
def refused() -> Iterator[None]:
    """Check that a request gets a 503 that says when to retry, in bounded time."""
    started = time.monotonic()
    with pytest.raises(openai.InternalServerError) as raised:
        yield
    assert time.monotonic() - started < 15
    assert raised.value.status_code == 503
    assert raised.value.response.headers["retry-after"] == "5"
    assert raised.value.code == "unavailable"
    assert BUCKET not in raised.value.message


@pytest.mark.emulated
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_every_operation_is_refused_while_s3_fails_and_works_afterwards(sdk, relay, fault: Fault):
    file = sdk.files.create(file=("a.jsonl", LINES), purpose="batch")
    upload = sdk.uploads.create(bytes=len(LINES), **UPLOAD)
    part = sdk.uploads.parts.create(upload.id, data=LINES)
    batch = sdk.batches.create(**BATCH)
    deleted = sdk.files.create(file=("a.jsonl", LINES), purpose="batch")
    calls: list[Callable[[], Any]] = [
        lambda: sdk.files.create(file=("a.jsonl", LINES), purpose="batch"),
        lambda: sdk.files.retrieve(file.id),
        lambda: sdk.files.content(file.id),
        lambda: list(sdk.files.list()),
        lambda: sdk.uploads.create(bytes=5, **UPLOAD),
        lambda: sdk.uploads.parts.create(upload.id, data=LINES),
        lambda: sdk.uploads.complete(upload.id, part_ids=[part.id]),
        lambda: sdk.batches.create(**BATCH),
        lambda: sdk.batches.retrieve(batch.id),
        lambda: sdk.batches.cancel(batch.id),
    ]
    relay.fault, relay.where = lambda each: (without_body if each.command == "HEAD" else fault)(each), BUCKET
    for call in calls:
        with refused():
            call()
    with refused():
        sdk.files.delete(deleted.id)  # last, since it may do its work, and only lose its response
    relay.fault = None
    for call in calls:
        assert call()


@pytest.mark.emulated
@pytest.mark.parametrize("number", range(12))
def test_a_completion_that_fails_at_any_request_goes_on(sdk, relay, number):
    upload = sdk.uploads.create(bytes=2 * len(LINES), **UPLOAD)
    parts = [sdk.uploads.parts.create(upload.id, data=LINES).id for _ in range(2)]
    requests = 0

    def fail_once(exchange: s3.Exchange) -> None:
        nonlocal requests
        requests += 1
        if number <= requests <= number + 1:  # the client tries again once
            error(503, "SlowDown")(exchange)
        else:
            exchange.respond(exchange.status, exchange.content)

    relay.fault, relay.where = fail_once, BUCKET
    try:
        done = sdk.uploads.complete(upload.id, part_ids=parts)
    except openai.InternalServerError:
        relay.fault = None
        done = sdk.uploads.complete(upload.id, part_ids=parts)
    relay.fault = None
    assert done.status == "completed"
    assert sdk.files.content(done.file.id).content == LINES * 2
    assert len([file for file in sdk.files.list() if file.id == done.file.id]) == 1


def test_full_disk_is_503_and_leaves_nothing(tmp_path):
    with process.serve(NO_SPACE, BATCHES=str(tmp_path)) as running:
        for method, path, options in (
            ("POST", "/v1/files", {"content": BODY.replace(LINES, LINES * 100), "headers": FORM}),
            ("POST", "/v1/batches", {"json": BATCH | {"metadata": {f"{n}": "x" * 500 for n in range(9)}}}),
        ):
            response = httpx2.request(method, f"{running.url}{path}", **options)
            assert (response.status_code, response.headers["retry-after"]) == (503, "5"), response.text
            assert response.json()["error"]["code"] == "unavailable"
            assert str(tmp_path) not in response.text
        assert not [path for path in tmp_path.rglob("*") if path.is_file()]
        assert httpx2.post(f"{running.url}/v1/files", content=BODY, headers=FORM).status_code == 200


def test_a_folder_that_cannot_be_one_is_503(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with process.serve(BATCHES=str(tmp_path / "file")) as running:
        for method, path in (("GET", "/v1/files"), ("POST", "/v1/files"), ("GET", "/v1/batches")):
            response = httpx2.request(method, f"{running.url}{path}", content=BODY, headers=FORM)
            assert (response.status_code, response.json()["error"]["code"]) == (503, "unavailable")


def test_a_client_that_disconnects_leaves_nothing(tmp_path):
    with process.serve(BATCHES=str(tmp_path)) as running:
        for _ in range(3):
            with raw_http.connect(running.url) as connection:
                head = raw_http.request("POST", "/v1/files", f"content-type: {FORM['content-type']}", body=BODY)
                connection.sendall(head[:-10])
        process.wait_until(lambda: (tmp_path / "_job/tmp").exists() and not [*(tmp_path / "_job/tmp").iterdir()])
        assert json.loads(httpx2.get(f"{running.url}/v1/files").content)["data"] == []
