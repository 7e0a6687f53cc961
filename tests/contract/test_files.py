"""Files over HTTP: OpenAI's client, fields and nulls, limits, owners, Lambda events, and what the log has of them."""

import base64
import json
from pathlib import Path
from typing import Any

import openai
import pytest

from handler.api.files import LAMBDA_FILE_BYTES
from handler.api.keys import digest_of
from handler.lambda_events import LambdaHandler
from handler.telemetry import RequestRecord
from tests import process
from tests.conftest import serve
from tests.events import KINDS, content, context, event, headers
from tests.stored import FORM, build, form

LINES = b'{"custom_id": "a", "method": "POST", "url": "/v1/embeddings", "body": {"model": "tiny", "input": "a"}}\n'
ALICE, BOB = "sk-alice-plugh-plugh-plugh", "sk-bob-plugh-plugh-plugh-plugh"
KEYS = (("alice", digest_of(ALICE)), ("bob", digest_of(BOB)), ("bob", digest_of(f"{BOB}-new")))
CONTEXT = context()


def connect(url: str, key: str = "none") -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0)


def create(client: openai.OpenAI, name: str = "a.jsonl", body: bytes = LINES, **options: Any) -> Any:
    return client.files.create(file=(name, body), purpose="batch", **options)


def test_a_file_has_openais_fields(sdk, http):
    file = create(sdk, "é ☃.jsonl")
    raw = http.get(f"/v1/files/{file.id}").json()
    assert raw == {
        "id": file.id,
        "object": "file",
        "bytes": len(LINES),
        "created_at": file.created_at,
        "expires_at": file.created_at + 2_592_000,
        "filename": "é ☃.jsonl",
        "purpose": "batch",
        "status": "processed",
    }
    assert sdk.files.retrieve(file.id) == sdk.files.wait_for_processing(file.id) == file
    assert sdk.files.content(file.id).content == LINES
    deleted = http.delete(f"/v1/files/{file.id}").json()
    assert deleted == {"id": file.id, "object": "file", "deleted": True}
    for call in (sdk.files.retrieve, sdk.files.content, sdk.files.delete):
        with pytest.raises(openai.NotFoundError, match=f"No such File object: {file.id}"):
            call(file.id)


def test_content_is_served_as_bytes_to_save_and_never_to_show(sdk, http, tmp_path):
    file = create(sdk, body=b'{"a": "<script>"}\r\n\r\n' + LINES)
    response = http.get(f"/v1/files/{file.id}/content", headers={"accept-encoding": "identity"})
    assert response.headers["content-type"] == "application/octet-stream"
    assert response.headers["content-disposition"] == "attachment"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["content-length"] == str(file.bytes)
    head = http.head(f"/v1/files/{file.id}/content")
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", str(file.bytes))
    sdk.files.content(file.id).write_to_file(tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == response.content == b'{"a": "<script>"}\r\n\r\n' + LINES


def test_expiry_is_as_asked_for_and_an_expired_file_is_absent(sdk, http, monkeypatch):
    file = create(sdk, expires_after={"anchor": "created_at", "seconds": 3600})
    assert file.expires_at == file.created_at + 3600
    monkeypatch.setattr("handler.api.stored.time.time", lambda: file.expires_at)
    assert http.get(f"/v1/files/{file.id}").status_code == 404
    assert http.get(f"/v1/files/{file.id}/content").status_code == 404
    assert http.delete(f"/v1/files/{file.id}").status_code == 404
    assert http.get("/v1/files").json()["data"] == []


def test_pages_are_iterated_by_the_client(sdk, http, monkeypatch):
    created: list[str] = []
    for second in range(5):
        monkeypatch.setattr("handler.api.stored.time.time", lambda second=second: 1_780_000_000 + second)
        created.insert(0, create(sdk).id)
    assert [file.id for file in sdk.files.list(limit=2)] == created
    assert [file.id for file in sdk.files.list(limit=2, order="asc")] == created[::-1]
    assert [file.id for file in sdk.files.list(purpose="batch", after=created[1])] == created[2:]
    assert not list(sdk.files.list(purpose="batch_output"))
    page = http.get("/v1/files?limit=2").json()
    assert (page["object"], page["first_id"], page["last_id"], page["has_more"]) == ("list", *created[:2], True)
    empty = http.get(f"/v1/files?after={created[4]}").json()
    assert empty == {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}


@pytest.mark.parametrize(
    ("query", "param"),
    [
        *((f"limit={value}", "limit") for value in ("0", "10001", "x", "-1", "")),
        *((f"after={value}", "after") for value in ("x", "../x", "batch_" + "0" * 32, "%00")),
        ("order=up", "order"),
        (f"purpose={'x' * 65}", "purpose"),
    ],
)
def test_invalid_queries_are_refused(http, query, param):
    response = http.get(f"/v1/files?{query}")
    assert (response.status_code, response.json()["error"]["param"]) == (400, param)
    assert response.json()["error"]["code"] == "invalid_value"


@pytest.mark.parametrize(
    ("parts", "message", "param"),
    [
        ([("purpose", None, b"batch")], "Missing required parameter: 'file'.", "file"),
        ([("file", "a.jsonl", LINES)], "Missing required parameter: 'purpose'.", "purpose"),
        ([("file", None, LINES), ("purpose", None, b"batch")], "the form gives it no filename", "file"),
        (
            [("file", "a.txt", LINES), ("purpose", None, b"batch")],
            "Invalid file format for Batch API. Must be .jsonl",
            "file",
        ),
        ([("file", "a.jsonl", b""), ("purpose", None, b"batch")], "File is empty.", "file"),
        ([("file", "a.jsonl", b"not json"), ("purpose", None, b"batch")], "Must be JSON Lines", "file"),
        ([("file", "a.jsonl", LINES), ("purpose", None, b"vision")], "Supported values are: 'batch'.", "purpose"),
        ([("file", "a.jsonl", LINES), ("purpose", None, b"batch_output")], "Supported values are: 'batch'.", "purpose"),
        *(
            (
                [
                    ("file", "a.jsonl", LINES),
                    ("purpose", None, b"batch"),
                    *((f"expires_after[{k}]", None, v) for k, v in fields),
                ],
                message,
                param,
            )
            for fields, message, param in (
                ([("seconds", b"3600")], "Missing required parameter", "expires_after.anchor"),
                ([("anchor", b"created_at")], "Missing required parameter", "expires_after.seconds"),
                (
                    [("anchor", b"x"), ("seconds", b"3600")],
                    "Supported values are: 'created_at'.",
                    "expires_after.anchor",
                ),
                ([("anchor", b"created_at"), ("seconds", b"3599")], "3600", "expires_after.seconds"),
                ([("anchor", b"created_at"), ("seconds", b"x")], "valid integer", "expires_after.seconds"),
            )
        ),
        ([("file", "a.jsonl", LINES)] * 2, "'file' occurs twice", "file"),
    ],
)
def test_invalid_files_are_refused_and_leave_nothing(http, parts, message, param, tmp_path):
    response = http.post("/v1/files", content=form(*parts), headers=FORM)
    error = response.json()["error"]
    assert (response.status_code, error["type"], error["param"]) == (400, "invalid_request_error", param)
    assert message in error["message"]
    assert not [path for path in (tmp_path / "data").rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    "kind",
    [
        *("", "text/plain", "application/json", "multipart/form-data", "multipart/form-data; boundary="),
        *("multipart/mixed; boundary=b0undary", f"multipart/form-data; boundary={'b' * 201}"),
        *("multipart/form-data; boundary=b0undary ; boundary=other",),
    ],
)
def test_what_is_no_form_is_refused(http, kind):
    body = form(("file", "a.jsonl", LINES), ("purpose", None, b"batch"))
    response = http.post("/v1/files", content=body, headers={"content-type": kind})
    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_form")


def test_a_compressed_form_is_refused(http):
    body = form(("file", "a.jsonl", LINES), ("purpose", None, b"batch"))
    response = http.post("/v1/files", content=body, headers=FORM | {"content-encoding": "gzip"})
    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_form")
    assert "Content-Encoding" in response.json()["error"]["message"]


def test_too_large_a_file_is_refused_before_and_while_it_arrives(http, monkeypatch, tmp_path):
    monkeypatch.setattr("handler.api.files.MAX_FILE_BYTES", 100_000)
    too_large = form(("purpose", None, b"batch"), ("file", "a.jsonl", LINES * 2000))
    for content_ in (too_large, iter([too_large])):  # with a content-length, and chunked
        response = http.post("/v1/files", content=content_, headers=FORM)
        assert (response.status_code, response.json()["error"]["code"]) == (400, "file_too_large")
        assert response.json()["error"]["message"].startswith("File is too large.")
    fits = form(("purpose", None, b"batch"), ("file", "a.jsonl", (LINES * 2000)[:100_000]))
    assert http.post("/v1/files", content=fits, headers=FORM).json()["bytes"] == 100_000
    assert not list((tmp_path / "data/_job/tmp").iterdir())


def test_other_keys_see_nothing(tmp_path):
    with serve(build(tmp_path / "data", auth_mode="api-key", api_keys=KEYS)) as url:
        alice, bob, renewed = (connect(url, key) for key in (ALICE, BOB, f"{BOB}-new"))
        with alice, bob, renewed:
            file = create(alice)
            for call in (bob.files.retrieve, bob.files.content, bob.files.delete):
                with pytest.raises(openai.NotFoundError, match="No such File object"):
                    call(file.id)
            assert not list(bob.files.list())
            assert renewed.files.retrieve(create(bob).id)  # of the same name: it replaces the other
            assert [each.id for each in alice.files.list()] == [file.id]
    assert not [path for path in (tmp_path / "data").rglob("*") if "alice" in str(path)]


@pytest.mark.parametrize("file_id", ["x", "..", "%2e%2e", "file-", "file-" + "A" * 32, "a" * 5000, "%00", "é"])
def test_what_is_no_id_is_not_found(http, file_id):
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/content")):
        response = http.request(method, f"/v1/files/{file_id}{path}")
        assert response.status_code in {404, 405}  # 405: a client resolves dots
        assert len(response.content) < 6000


@pytest.mark.parametrize(
    "path", ["/files", "/v1/v1/files/", "/openai/v1/files", "/openai/files?api-version=2024-10-21"]
)
def test_usual_spellings_of_the_base_url_reach_the_files(http, path):
    assert http.get(path).json()["object"] == "list"


def test_azures_client_reaches_the_files(stored_url):
    with openai.AzureOpenAI(
        azure_endpoint=stored_url, azure_deployment="tiny", api_version="2024-10-21", api_key="none", max_retries=0
    ) as client:
        file = create(client)
        assert client.files.content(file.id).content == LINES


@pytest.mark.parametrize("method", ["PUT", "PATCH", "POST"])
def test_other_methods_are_not_allowed(http, method):
    response = http.request(method, "/v1/files/x")
    assert (response.status_code, response.json()["error"]["code"]) == (405, "method_not_allowed")
    assert http.get("/v1/files/x/y").json()["error"]["code"] == "not_found"


def request_event(kind: str, body: bytes = b"", method: str = "POST", path: str = "/v1/files") -> dict[str, Any]:
    return event(kind, body, method=method, path=path, **FORM)


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_is_stored_and_returned_in_events(stored_app, kind):
    handler = LambdaHandler(stored_app)
    lines = LINES * (LAMBDA_FILE_BYTES // len(LINES)) + b"\n" * (LAMBDA_FILE_BYTES % len(LINES))
    body = form(("purpose", None, b"batch"), ("file", "a.jsonl", lines))
    created = handler(request_event(kind, body), CONTEXT)
    assert created["statusCode"] == 200
    file = content(created)
    response = handler(request_event(kind, method="GET", path=f"/v1/files/{file['id']}/content"), CONTEXT)
    assert base64.b64decode(response["body"]) == lines
    assert len(json.dumps(response)) < 6_291_556
    assert headers(response)["content-type"] == "application/octet-stream"
    too_large = handler(request_event(kind, form(("file", "a.jsonl", lines + b"\n"))), CONTEXT)
    assert too_large["statusCode"] == 413
    assert "upload_file_chunked" in content(too_large)["error"]["message"]
    assert "part_size=4 << 20" in content(too_large)["error"]["message"]


@pytest.mark.parametrize("path", ["/v1/files", "/v1/files/x/content", "/v1/uploads", "/v1/batches/x", "/files"])
def test_without_a_storage_the_routes_say_how_to_have_one(app, path):
    for method in ("GET", "POST", "DELETE"):
        response = LambdaHandler(app)(event("http-api-2.0", b"", method=method, path=path), CONTEXT)
        error = content(response)["error"]
        assert (response["statusCode"], error["code"]) == (404, "batches_not_served")
        assert "Bulk=true" in error["message"]
        assert "DATA=" in error["message"]


def test_the_log_has_neither_names_nor_texts(tmp_path):
    records: list[RequestRecord] = []

    class Log:
        def log_request(self, record: RequestRecord, status: int, seconds: float) -> None:
            assert status
            assert seconds
            records.append(record)

    app = build(tmp_path)
    app.user_middleware[0].kwargs["log"] = Log()
    with serve(app) as url, connect(url) as client:
        create(client, "plugh.jsonl", b'{"plugh": 1}')
        with pytest.raises(openai.BadRequestError):
            create(client, "plugh.txt", b'{"plugh": 1}')
    assert len(records) == 2
    assert "plugh" not in repr(records)


def peak_bytes(pid: int) -> int:
    """Return the most resident memory of a process since its peak was reset (proc_pid_status(5): VmHWM)."""
    return int(Path(f"/proc/{pid}/status").read_text().partition("VmHWM:")[2].split()[0]) * 1024


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux tells a process's peak")
def test_a_large_file_is_never_in_memory(tmp_path):
    """100 MB are sent in blocks, sent in two parts and received: each took the server less than a quarter of that."""
    size, block = 100 << 20, b'{"a": "' + b"x" * 65_526 + b'"}\n'
    (tmp_path / "a.jsonl").write_bytes(block * (size // len(block)))
    with process.serve(BATCHES=str(tmp_path / "data")) as service, connect(service.url) as client:
        create(client)
        Path(f"/proc/{service.process.pid}/clear_refs").write_text("5")
        before = peak_bytes(service.process.pid)
        file = client.files.create(file=tmp_path / "a.jsonl", purpose="batch")
        client.uploads.upload_file_chunked(
            file=tmp_path / "a.jsonl", mime_type="application/jsonl", purpose="batch", part_size=size // 2
        )
        with client.files.with_streaming_response.content(file.id) as response:
            assert sum(map(len, response.iter_bytes())) == file.bytes == (tmp_path / "a.jsonl").stat().st_size
        assert peak_bytes(service.process.pid) - before < size // 4
