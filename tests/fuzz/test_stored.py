"""Arbitrary forms, bodies, IDs and queries for files, uploads and batches: no 5xx, and nothing outside their folder."""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from hypothesis import strategies as st

from handler.api.openapi_stored import CONTENT, SUCCESS
from handler.lambda_events import LambdaHandler
from tests.conftest import serve
from tests.events import KINDS, context, event
from tests.fuzz import JSON, PIECES, TEXTS, fuzz
from tests.fuzz.test_service import check, check_operations
from tests.stored import build

CONTEXT = context()
NAMES = st.one_of(
    st.sampled_from(["file", "data", "purpose", "expires_after[anchor]", "expires_after[seconds]"]), TEXTS
)
FILENAMES = st.one_of(st.none(), st.just("a.jsonl"), TEXTS.map(lambda name: f"{name}.jsonl"), TEXTS)
VALUES = st.one_of(st.sampled_from([b"batch", b"created_at", b"3600", b'{"a": 1}\n']), st.binary(max_size=300))
BOUNDARIES = st.one_of(st.just("b"), st.text(max_size=80), st.sampled_from(["", '"b"', "b; boundary=c", "b" * 300]))
LINES = st.sampled_from(
    [
        *(b"--b\r\n", b"--b--", b"--b", b"\r\n", b"\n", b"\r", b"-", b"--c\r\n", b'name="', b'"', b"{}", b"\0", b": x"),
        *(b"Content-Disposition: form-data; name=file", b"; filename=a.jsonl", b"batch", b"x" * 5000),
        *(b"Content-Disposition: form-data; name=purpose", b"Content-Type: multipart/mixed; boundary=c"),
        b"Content-Transfer-Encoding: base64",
    ]
)
IDS = st.one_of(
    st.sampled_from(["file-", "batch_", "upload_"]).map(lambda kind: kind + "0" * 32),
    st.sampled_from(["..", ".", "../../x", "%2e%2e", "x" * 3000, "file-" + "0" * 32 + "/../x", "batch.json"]),
    TEXTS,
)
FORMS = st.tuples(
    st.lists(st.tuples(NAMES, FILENAMES, VALUES), max_size=5), BOUNDARIES, st.one_of(st.none(), BOUNDARIES)
)
REQUESTS = st.tuples(
    st.sampled_from(["GET", "POST", "DELETE", "HEAD"]),
    st.sampled_from(["files", "uploads", "batches"]),
    IDS,
    st.sampled_from(["", "/content", "/parts", "/complete", "/cancel", "/x"]),
)
ASKED = st.fixed_dictionaries(
    {},
    optional={
        "input_file_id": st.one_of(IDS, JSON),
        "endpoint": st.one_of(st.just("/v1/embeddings"), JSON),
        "completion_window": st.one_of(st.just("24h"), JSON),
        "metadata": st.one_of(st.dictionaries(st.one_of(PIECES, TEXTS), TEXTS, max_size=18), JSON),
        "output_expires_after": JSON,
        "bytes": st.one_of(st.integers(), JSON),
        "filename": st.one_of(FILENAMES, JSON),
        "mime_type": st.one_of(TEXTS, JSON),
        "purpose": st.one_of(st.just("batch"), JSON),
        "part_ids": st.one_of(st.lists(TEXTS, max_size=3), JSON),
        "md5": JSON,
    },
)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as path:
        yield Path(path)


@pytest.fixture(scope="module")
def stored_app(folder: Path) -> FastAPI:
    return build(folder / "data")


def check_folder(folder: Path) -> None:
    """Check that nothing is stored outside, or under a name that a request chose."""
    assert {path.name for path in folder.iterdir()} <= {"data"}
    assert {path.name for path in (folder / "data").iterdir()} <= {"owners", "uploads", "_job"}
    assert not [*folder.glob("data/_job/tmp/*")]


def written(boundary: str, parts: list[tuple[str, str | None, bytes]]) -> bytes:
    body = b""
    for name, filename, value in parts:
        file = "" if filename is None else f'; filename="{filename}"'
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'
        body += head.encode(errors="replace") + value + b"\r\n"
    return body + f"--{boundary}--\r\n".encode(errors="replace")


@fuzz(given=FORMS, kind=st.sampled_from(KINDS))
def test_forms(
    stored_app: FastAPI,
    folder: Path,
    given: tuple[list[tuple[str, str | None, bytes]], str, str | None],
    kind: str,
) -> None:
    parts, boundary, other = given
    body = written(boundary if other is None else other, parts)
    request_event = event(kind, body, path="/v1/files", **{"content-type": f"multipart/form-data; boundary={boundary}"})
    check(LambdaHandler(stored_app)(request_event, CONTEXT))
    check_folder(folder)


@fuzz(lines=st.lists(LINES, max_size=12), cut=st.integers(0, 200))
def test_broken_forms(stored_app: FastAPI, folder: Path, lines: list[bytes], cut: int) -> None:
    body = b"".join(lines)
    request_event = event("http-api-2.0", body[: len(body) - cut or None], path="/v1/files")
    request_event["headers"]["content-type"] = "multipart/form-data; boundary=b"
    assert check(LambdaHandler(stored_app)(request_event, CONTEXT)) in {200, 400, 429}
    check_folder(folder)


@fuzz(path=st.sampled_from(["/v1/batches", "/v1/uploads", "/v1/uploads/x/complete"]), asked=ASKED, key=TEXTS)
def test_bodies(stored_app: FastAPI, folder: Path, path: str, asked: dict[str, Any], key: str) -> None:
    request_event = event("http-api-2.0", json.dumps(asked), path=path, **{"idempotency-key": key})
    check(LambdaHandler(stored_app)(request_event, CONTEXT))
    assert {path.name for path in folder.iterdir()} <= {"data"}


@fuzz(line=REQUESTS, body=st.binary(max_size=100))
def test_ids(stored_app: FastAPI, folder: Path, line: tuple[str, str, str, str], body: bytes) -> None:
    method, collection, item, action = line
    request_event = event("http-api-2.0", body, method=method, path=f"/v1/{collection}/{item}{action}")
    assert check(LambdaHandler(stored_app)(request_event, CONTEXT)) in {400, 404, 405, 415, 429}
    assert {path.name for path in folder.iterdir()} <= {"data"}


@fuzz(
    query=st.dictionaries(
        st.sampled_from(["after", "limit", "order", "purpose", "x"]), st.one_of(TEXTS, IDS), max_size=4
    )
)
def test_queries(stored_app: FastAPI, query: dict[str, str]) -> None:
    for path in ("/v1/files", "/v1/batches"):
        request_event = event("rest-api-1.0", method="GET", path=path)
        request_event["multiValueQueryStringParameters"] = {name: [value] for name, value in query.items()}
        assert check(LambdaHandler(stored_app)(request_event, CONTEXT)) in {200, 400}


@pytest.fixture(scope="module")
def url(stored_app: FastAPI) -> Iterator[str]:
    with serve(stored_app) as address:
        yield address


@pytest.mark.parametrize("path", sorted({path for path, _ in [*SUCCESS, CONTENT]}))
def test_operations_of_the_openapi_document(url: str, path: str) -> None:
    check_operations(url, path)
