"""Every error response has OpenAI's envelope: never a 422, never a bare 500."""

import json

import httpx2
import pytest
from fastapi import FastAPI

from handler.api.app import create_app
from handler.models.catalog import Catalog
from handler.settings import Settings
from tests import tiny
from tests.conftest import serve


def error_of(response: httpx2.Response) -> dict[str, str | None]:
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-request-id"]
    body: dict[str, dict[str, str | None]] = response.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"message", "type", "param", "code"}
    return body["error"]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"model": "tiny", "input": ""}, "input"),
        ({"model": "tiny", "input": []}, "input"),
        ({"model": "tiny", "input": ["a", ""]}, "input.1"),
        ({"model": "tiny", "input": ["a", 1]}, "input.1"),
        ({"model": "tiny", "input": [[1], []]}, "input.1"),
        ({"model": "tiny", "input": [1, -1]}, "input.1"),
        ({"model": "tiny", "input": [[5], [5, 10**6]]}, "input.1"),
        ({"model": "tiny", "input": ["a", "a " * 8193]}, "input.1"),
        ({"model": "tiny", "input": ["a"] * 2049}, "input"),
        ({"model": "tiny", "input": "a", "encoding_format": "hex"}, "encoding_format"),
        ({"model": "tiny", "input": "a", "dimensions": 33}, "dimensions"),
        ({"model": "tiny", "input": "a", "dimensions": -1}, "dimensions"),
        ({"model": "tiny"}, "input"),
        ({"input": "a"}, "model"),
        ({"model": 3, "input": "a"}, "model"),
        ([], None),
    ],
)
def test_invalid_request_gets_a_400_that_names_the_parameter(client, body, param):
    response = client.post("/v1/embeddings", json=body)
    assert response.status_code == 400
    error = error_of(response)
    assert error["type"] == "invalid_request_error"
    assert error["param"] == param


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"[" * 10_000, b"1" * 10_000])
def test_invalid_json_gets_a_400(client, body):
    response = client.post("/v1/embeddings", content=body)
    assert response.status_code == 400
    assert error_of(response)["code"] in {"invalid_json", "invalid_type"}


def test_longest_text_and_largest_batch_are_served(client):
    assert client.post("/v1/embeddings", json={"model": "tiny", "input": "a " * 14}).status_code == 200
    assert len(client.post("/v1/embeddings", json={"model": "tiny", "input": ["a"] * 2048}).json()["data"]) == 2048


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", "application/x-www-form-urlencoded", None])
def test_body_is_parsed_as_json_with_any_content_type(client, content_type):
    headers = {"content-type": content_type} if content_type else {}
    body = json.dumps({"model": "tiny", "input": "a"}).encode()
    assert client.post("/v1/embeddings", content=body, headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nope", 404),
        ("GET", "/v1/embeddings", 405),
        ("DELETE", "/health", 405),
        ("GET", "/v1/models/nope", 404),
    ],
)
def test_framework_errors_have_the_envelope(client, method, path, status):
    response = client.request(method, path)
    assert response.status_code == status
    assert error_of(response)["type"] == "invalid_request_error"


def test_framework_errors_name_the_request_and_the_allowed_methods(client):
    assert "(GET /nope)" in str(error_of(client.get("/nope"))["message"])
    response = client.get("/v1/embeddings")
    assert "GET on /v1/embeddings" in str(error_of(response)["message"])
    assert response.headers["allow"] == "POST"


def test_health_reveals_nothing_about_the_model(client):
    assert client.get("/health").json() == {"status": "ok"}


@pytest.mark.parametrize("error_format", ["openai", "plain"])
def test_unavailable_model_is_503_and_says_when_to_retry(tmp_path, error_format):
    settings = Settings(models=("absent",), artifacts=tmp_path, auth_mode="none", error_format=error_format)
    with serve(create_app(settings, Catalog(settings, lambda _: None))) as address:
        response = httpx2.post(f"{address}/v1/embeddings", json={"model": "absent", "input": "a"})
    assert (response.status_code, response.headers["retry-after"]) == (503, "2")
    message = "The model is unavailable now; the service's log says why."
    if error_format == "plain":
        assert response.json() == {"error": message}
    else:
        error = error_of(response)
        assert (error["message"], error["type"], error["code"]) == (message, "server_error", "unavailable")


@pytest.fixture
def broken_app(monkeypatch) -> FastAPI:
    embedder = tiny.embedder()
    monkeypatch.setattr(embedder._runs, "_pool", lambda _: 1 / 0)
    settings = Settings(auth_mode="none")
    return create_app(settings, Catalog.of([embedder], settings))


def test_unexpected_error_gets_the_documented_500_and_one_log_record(broken_app, caplog):
    with serve(broken_app) as address:
        response = httpx2.post(f"{address}/v1/embeddings", json={"model": "tiny", "input": "secret text"})
    assert response.status_code == 500
    assert error_of(response)["message"] == "Unexpected internal server error occurred"
    assert response.headers["x-should-retry"] == "false"
    (record,) = [record for record in caplog.records if record.name == "handler"]
    assert response.headers["x-request-id"] in record.getMessage()
    assert f"ZeroDivisionError at {__file__}" in record.getMessage()  # the innermost frame first
    assert "secret text" not in caplog.text
