"""Uploads over HTTP: OpenAI's client in parts, Lambda events, limits, owners."""

import hashlib
from typing import Any

import openai
import pytest

from handler.api.files import LAMBDA_FILE_BYTES
from handler.lambda_events import LambdaHandler
from tests.conftest import serve
from tests.contract.test_files import ALICE, BOB, CONTEXT, KEYS, LINES, connect
from tests.events import content, event
from tests.stored import FORM, build, form

ASKED: dict[str, Any] = {"filename": "a.jsonl", "mime_type": "application/jsonl", "purpose": "batch"}


def test_the_client_uploads_a_file_in_parts(sdk, tmp_path):
    """The parts are smaller than those of S3's own uploads may be."""
    lines = LINES * 100
    (tmp_path / "a.jsonl").write_bytes(lines)
    md5 = hashlib.md5(lines, usedforsecurity=False).hexdigest()
    upload = sdk.uploads.upload_file_chunked(
        file=tmp_path / "a.jsonl", mime_type="application/jsonl", purpose="batch", part_size=1000, md5=md5
    )
    assert (upload.status, upload.bytes, upload.filename, upload.purpose) == (
        "completed",
        len(lines),
        "a.jsonl",
        "batch",
    )
    assert upload.file == sdk.files.retrieve(upload.file.id)
    assert sdk.files.content(upload.file.id).content == lines


def test_an_upload_has_openais_fields(sdk, http):
    upload = sdk.uploads.create(bytes=len(LINES), expires_after={"anchor": "created_at", "seconds": 3600}, **ASKED)
    assert upload.to_dict() == {
        "id": upload.id,
        "object": "upload",
        "bytes": len(LINES),
        "created_at": upload.created_at,
        "expires_at": upload.created_at + 3600,
        "filename": "a.jsonl",
        "purpose": "batch",
        "status": "pending",
        "file": None,
    }
    part = sdk.uploads.parts.create(upload.id, data=LINES)
    assert (part.object, part.upload_id, part.id[:5]) == ("upload.part", upload.id, "part_")
    assert part.created_at >= upload.created_at
    done = sdk.uploads.complete(upload.id, part_ids=[part.id])
    assert (done.status, done.file.expires_at) == ("completed", upload.created_at + 3600)
    assert sdk.uploads.complete(upload.id, part_ids=[part.id]) == done
    response = http.post(f"/v1/uploads/{upload.id}/cancel")
    assert (response.status_code, response.json()["error"]["type"]) == (400, "invalid_request_error")


def test_an_upload_is_cancelled_and_expires(sdk, monkeypatch):
    upload = sdk.uploads.create(bytes=len(LINES), **ASKED)
    part = sdk.uploads.parts.create(upload.id, data=LINES)
    assert sdk.uploads.cancel(upload.id).status == "cancelled"
    with pytest.raises(openai.BadRequestError, match="Cannot complete an upload with status 'cancelled'"):
        sdk.uploads.complete(upload.id, part_ids=[part.id])
    with pytest.raises(openai.BadRequestError, match="Cannot add a part to an upload with status 'cancelled'"):
        sdk.uploads.parts.create(upload.id, data=LINES)
    late = sdk.uploads.create(bytes=len(LINES), **ASKED)
    monkeypatch.setattr("handler.api.stored.time.time", lambda: late.expires_at)
    with pytest.raises(openai.BadRequestError, match="Cannot add a part to an upload with status 'expired'"):
        sdk.uploads.parts.create(late.id, data=LINES)


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"purpose": "fine-tune"}, "purpose"),
        ({"bytes": 0}, "bytes"),
        ({"bytes": (200 << 20) + 1}, "bytes"),
        ({"filename": "a.csv"}, "filename"),
        ({"mime_type": None}, "mime_type"),
    ],
)
def test_an_upload_that_cannot_become_a_file_is_refused_at_once(http, changes, param):
    response = http.post("/v1/uploads", json={"bytes": 5, **ASKED, **changes})
    assert (response.status_code, response.json()["error"]["param"]) == (400, param)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "part_ids"),
        ({"part_ids": "x"}, "part_ids"),
        ({"part_ids": [5]}, "part_ids.0"),
        ({"part_ids": ["../upload.json"]}, "part_ids.0"),
        ({"part_ids": [], "md5": "x"}, "md5"),
        ({"part_ids": []}, "part_ids"),
    ],
)
def test_an_invalid_completion_is_refused(sdk, http, body, param):
    upload = sdk.uploads.create(bytes=len(LINES), **ASKED)
    response = http.post(f"/v1/uploads/{upload.id}/complete", json=body)
    assert (response.status_code, response.json()["error"]["param"]) == (400, param)


def test_a_part_needs_its_data(sdk, http):
    upload = sdk.uploads.create(bytes=len(LINES), **ASKED)
    response = http.post(f"/v1/uploads/{upload.id}/parts", content=form(("x", None, b"")), headers=FORM)
    assert (response.status_code, response.json()["error"]["param"]) == (400, "data")
    without_name = http.post(f"/v1/uploads/{upload.id}/parts", content=form(("data", None, LINES)), headers=FORM)
    assert without_name.json()["object"] == "upload.part"


def test_a_part_is_limited(sdk, monkeypatch, tmp_path):
    monkeypatch.setattr("handler.api.uploads.MAX_PART_BYTES", 1000)
    upload = sdk.uploads.create(bytes=2000, **ASKED)
    assert sdk.uploads.parts.create(upload.id, data=b"x" * 1000)
    with pytest.raises(openai.BadRequestError, match="At most 1,000 bytes are accepted"):
        sdk.uploads.parts.create(upload.id, data=b"x" * 1001)
    assert not list((tmp_path / "data/_job/tmp").iterdir())


def test_other_keys_find_no_upload(tmp_path):
    with serve(build(tmp_path / "data", auth_mode="api-key", api_keys=KEYS)) as url:
        alice, bob = (connect(url, key) for key in (ALICE, BOB))
        with alice, bob:
            upload = alice.uploads.create(bytes=len(LINES), **ASKED)
            part = alice.uploads.parts.create(upload.id, data=LINES)
            for call in (
                lambda: bob.uploads.parts.create(upload.id, data=LINES),
                lambda: bob.uploads.complete(upload.id, part_ids=[part.id]),
                lambda: bob.uploads.cancel(upload.id),
            ):
                with pytest.raises(openai.NotFoundError, match="No upload found"):
                    call()
            own = bob.uploads.create(bytes=len(LINES), **ASKED)
            with pytest.raises(openai.BadRequestError, match="No part of this upload"):
                bob.uploads.complete(own.id, part_ids=[part.id])


def test_parts_of_4_mib_pass_lambda(tmp_path):
    handler = LambdaHandler(build(tmp_path / "data"))
    size = 2 * LAMBDA_FILE_BYTES

    def send(path: str, body: str | bytes) -> Any:
        extra = FORM if isinstance(body, bytes) else {}
        return content(handler(event("http-api-2.0", body, path=path, **extra), CONTEXT))

    asked = f'{{"bytes": {size}, "filename": "a.jsonl", "mime_type": "x", "purpose": "batch"}}'
    upload = send("/v1/uploads", asked)
    part = form(("data", "upload", b'{"a":1}\n' * (LAMBDA_FILE_BYTES // 8)))
    ids = [send(f"/v1/uploads/{upload['id']}/parts", part)["id"] for _ in range(2)]
    done = send(f"/v1/uploads/{upload['id']}/complete", f'{{"part_ids": ["{ids[0]}", "{ids[1]}"]}}')
    assert (done["status"], done["file"]["bytes"]) == ("completed", size)
    too_large = send(f"/v1/uploads/{upload['id']}/parts", form(("data", "upload", b"x" * (LAMBDA_FILE_BYTES + 1))))
    assert "status 'completed'" in too_large["error"]["message"]
    other = send("/v1/uploads", asked)
    too_large = send(f"/v1/uploads/{other['id']}/parts", form(("data", "upload", b"x" * (LAMBDA_FILE_BYTES + 1))))
    assert "part_size=4 << 20" in too_large["error"]["message"]
