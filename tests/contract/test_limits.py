"""Every limit, tested one below, at, and one above; requests above are rejected early, with the error envelope."""

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from fastapi import FastAPI

from handler.api.app import create_app
from handler.api.limits import MAX_BODY_BYTES, MAX_HEADERS_BYTES, MAX_RESPONSE_BYTES, Output, check_response_size
from handler.contract.schemas import MAX_INPUTS, MAX_MODEL, MAX_TOKEN_IDS
from handler.embedding import cl100k
from handler.embedding.cl100k import MAX_CHARACTERS
from handler.embedding.tokenization import MAX_INPUT_TOKENS
from handler.errors import RequestError
from handler.lambda_events import LambdaHandler
from handler.models.catalog import Catalog
from handler.settings import Settings
from tests import raw_http, tiny
from tests.conftest import SETTINGS, serve
from tests.events import KINDS, content, context, event

BODY = b'{"model": "tiny", "input": "a"}'
CONTEXT = context()
AROUND = (-1, 0, 1)  # one below the limit, the limit, one above
MAX_DEPTH = 200  # fixed in jiter, pydantic's JSON parser


def padded(size: int) -> bytes:
    """Return a valid body of `size` bytes."""
    return BODY + b" " * (size - len(BODY))


def code_of(body: bytes) -> str | None:
    error = json.loads(body)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert len(body) < 4_000
    code: str | None = error["code"]
    return code


@pytest.mark.parametrize("offset", AROUND)
def test_body_size_is_limited(url, offset):
    body = padded(MAX_BODY_BYTES + offset)
    head = raw_http.request("POST", "/v1/embeddings").replace(b"content-length: 0", b"transfer-encoding: chunked")
    for payload in (raw_http.request("POST", "/v1/embeddings", body=body), [head, *raw_http.chunked(body)]):
        response = raw_http.send(url, payload)
        assert response.status == (413 if offset > 0 else 200)
        assert offset <= 0 or code_of(response.body) == "request_too_large"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("offset", AROUND)
def test_event_body_size_is_limited(app: FastAPI, kind, offset):
    body = padded(MAX_BODY_BYTES + offset)
    request_event = event(kind, body)
    assert len(json.dumps(request_event)) < MAX_RESPONSE_BYTES  # the limit also applies to events: base64 always fits
    for each in (request_event, event(kind, body.decode())):
        response = LambdaHandler(app)(each, CONTEXT)
        assert response["statusCode"] == (413 if offset > 0 else 200)
        assert offset <= 0 or content(response)["error"]["code"] == "request_too_large"


def test_content_length_over_the_limit_is_rejected_before_the_body_arrives(url):
    for length in (MAX_BODY_BYTES + 1, 10**19):
        head = raw_http.request("POST", "/v1/embeddings").replace(b"content-length: 0", b"content-length: %d" % length)
        response = raw_http.send(url, head)
        assert (response.status, code_of(response.body)) == (413, "request_too_large")


@pytest.mark.parametrize("length", ["", "x", "-1", "9" * 5_000, "\u0663"])
def test_invalid_content_length_is_ignored_and_the_body_is_measured(app: FastAPI, length):
    headers = {"content-length": length}
    assert LambdaHandler(app)(event("http-api-2.0", BODY, **headers), CONTEXT)["statusCode"] == 200
    assert (
        LambdaHandler(app)(event("http-api-2.0", padded(MAX_BODY_BYTES + 1), **headers), CONTEXT)["statusCode"] == 413
    )


def test_request_without_a_key_is_rejected_before_its_body_arrives():
    settings = Settings(api_keys=(("alice", "0" * 64),))
    with serve(create_app(settings, Catalog.of([tiny.embedder(settings)], settings))) as url:
        head = raw_http.request("POST", "/v1/embeddings").replace(b"content-length: 0", b"content-length: %d" % 10**12)
        assert raw_http.send(url, head).status == 401


@pytest.mark.parametrize("offset", AROUND)
@pytest.mark.parametrize("where", ["header", "query", "path"])
def test_size_of_request_line_and_headers_is_limited(url, offset, where):
    empty = b"hostlocalhostcontent-length0/health" + {"header": b"x", "query": b"", "path": b"/"}[where]
    padding = "x" * (MAX_HEADERS_BYTES + offset - len(empty))
    payload = {
        "header": raw_http.request("GET", "/health", f"x: {padding}"),
        "query": raw_http.request("GET", f"/health?{padding}"),
        "path": raw_http.request("GET", f"/health/{padding}"),
    }[where]
    response = raw_http.send(url, payload)
    assert response.status == (431 if offset > 0 else 404 if where == "path" else 200)
    assert offset <= 0 or code_of(response.body) == "headers_too_large"


def test_server_closes_a_connection_with_endless_headers(url):
    with raw_http.connect(url) as connection, suppress(ConnectionError):
        connection.sendall(b"GET /health HTTP/1.1\r\nhost: here\r\n")
        for _ in range(200):
            connection.sendall(b"x: " + b"x" * 1_000 + b"\r\n")
        while connection.recv(1_024):
            pass
    assert raw_http.send(url, raw_http.request("GET", "/health")).status == 200


def post(url: str, body: object) -> tuple[int, str | None]:
    payload = body if isinstance(body, bytes) else json.dumps(body).encode()
    response = raw_http.send(url, raw_http.request("POST", "/v1/embeddings", body=payload))
    return response.status, None if response.status == 200 else code_of(response.body)


@pytest.mark.parametrize("offset", AROUND)
def test_json_nesting_depth_is_limited(url, offset):
    depth = MAX_DEPTH + offset - 1  # the enclosing object is one level
    for opening, closing in ((b"[", b"]"), (b'{"a":', b"}")):
        nested = opening * depth + b"1" + closing * depth
        expected = (400, "invalid_json") if offset > 0 else (200, None)
        assert post(url, b'{"model": "tiny", "input": "a", "other": %b}' % nested) == expected


Fields = Callable[[int], dict[str, Any]]


@pytest.mark.parametrize("offset", AROUND)
@pytest.mark.parametrize(
    ("limit", "fields", "code"),
    [
        (MAX_INPUTS, lambda size: {"input": ["a"] * size}, "too_many_inputs"),
        (MAX_INPUTS, lambda size: {"input": [[2, 3]] * size}, "too_many_inputs"),
        (MAX_CHARACTERS, lambda size: {"input": "a" * size}, "input_too_long"),
        (MAX_CHARACTERS, lambda size: {"input": ["a", "\U0001f35c" * size]}, "input_too_long"),
        (MAX_INPUT_TOKENS, lambda size: {"input": "a " * size}, "context_length_exceeded"),
        (tiny.HIDDEN, lambda size: {"dimensions": size}, "invalid_value"),
    ],
    ids=[
        "texts",
        "token arrays",
        "characters",
        "characters beyond 16 bits",
        "tokens",
        "dimensions",
    ],
)
def test_request_fields_are_limited(url, offset, limit, fields: Fields, code):
    expected = (400, code) if offset > 0 else (200, None)
    assert post(url, {"model": "tiny", "input": "a", **fields(limit + offset)}) == expected


@pytest.mark.parametrize("offset", AROUND)
def test_tokens_are_limited_to_the_models_with_the_error_policy(offset):
    settings = Settings(auth_mode="none", token_input="native", long_input="error")
    size = tiny.MAX_TOKENS + offset
    with serve(create_app(settings, Catalog.of([tiny.embedder(settings)], settings))) as url:
        for given in ("a " * (size - 2), [[2] * size]):
            expected = (400, "context_length_exceeded") if offset > 0 else (200, None)
            assert post(url, {"model": "tiny", "input": given}) == expected


@pytest.mark.parametrize("offset", AROUND)
def test_token_ids_per_input_are_limited(offset):
    settings = Settings(auth_mode="none", token_input="native")
    with serve(create_app(settings, Catalog.of([tiny.embedder(settings)], settings))) as url:
        for given in ([5] * (MAX_TOKEN_IDS + offset), [[5], [5] * (MAX_TOKEN_IDS + offset)]):
            expected = (400, "input_too_long") if offset > 0 else (200, None)
            assert post(url, {"model": "tiny", "input": given}) == expected


@pytest.mark.parametrize("offset", AROUND)
def test_text_decoded_from_openai_token_ids_is_limited(offset):
    settings = Settings(auth_mode="none", token_input="decode")
    sixteen, one = 338, 64
    assert (cl100k.decode([sixteen]), cl100k.decode([one])) == (" " * 16, "a")
    ids = [sixteen] * (MAX_CHARACTERS // 16 - 1) + [one] * (16 + offset)
    with serve(create_app(settings, Catalog.of([tiny.embedder(settings)], settings))) as url:
        expected = (400, "input_too_long") if offset > 0 else (200, None)
        assert post(url, {"model": "tiny", "input": ids}) == expected


@pytest.mark.parametrize("offset", AROUND)
@pytest.mark.parametrize("letter", ["x", "\0", '"', "\U0001f35c"])
def test_length_of_the_model_name_is_limited(url, offset, letter):
    expected = (400, "invalid_value") if offset > 0 else (404, "model_not_found")
    assert post(url, {"model": letter * (MAX_MODEL + offset), "input": "a"}) == expected


@pytest.mark.parametrize("digits", [10, 309, 5_000, 1_000_000])
def test_large_numbers_get_client_errors(url, digits):
    number = b"9" * digits
    for field in (b'"input": [%b]', b'"input": "a", "dimensions": %b', b'"input": "a", "other": %b'):
        status, _ = post(url, b'{"model": "tiny", %b}' % (field % number))
        assert status == 400 or b"other" in field


@pytest.mark.parametrize("encoding_format", ["float", "base64"])
def test_response_size_is_limited(encoding_format):
    low, high = 1, MAX_RESPONSE_BYTES
    while low < high:  # bisects for the largest number of vectors that fits
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle, encoding_format) else (low, middle - 1)
    assert fits(low - 1, encoding_format)
    assert not fits(low + 1, encoding_format)


def fits(inputs: int, encoding_format: Any) -> bool:
    try:
        check_response_size({"headers": []}, Output(inputs, 1_024, encoding_format))
    except RequestError as error:
        return error.code != "response_too_large"
    return True


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("component", ["-0.0000152536395", "-1.1754944e-38"])
def test_no_response_exceeds_lambdas_payload_limit(monkeypatch, kind, component):
    embedder = tiny.embedder(SETTINGS, dimensions=384, normalize=False)
    monkeypatch.setattr(
        embedder._runs, "pool", lambda sequences, **_: np.full((len(sequences), 384), np.float32(component))
    )
    handler = LambdaHandler(create_app(SETTINGS, Catalog.of([embedder], SETTINGS)))

    def ask(inputs: int) -> dict[str, Any]:
        body = json.dumps({"model": "tiny", "input": ["a"] * inputs, "encoding_format": "float"})
        response = handler(event(kind, body, **{"accept-encoding": "identity"}), CONTEXT)
        assert len(json.dumps(response)) <= MAX_RESPONSE_BYTES
        return response

    rejected = ask(1_313)
    assert (rejected["statusCode"], content(rejected)["error"]["code"]) == (400, "response_too_large")
    fitting = int(content(rejected)["error"]["message"].partition(" fit")[0].rpartition(" ")[2])
    assert ask(fitting)["statusCode"] == 200
    assert len(json.dumps(ask(fitting))) > 0.99 * MAX_RESPONSE_BYTES


@pytest.mark.parametrize("given", ["a" * 1_000_000, "a " * 500_000, ["a", "\U0001f35c" * 250_000], [[5] * 500_000]])
def test_input_of_a_megabyte_is_rejected_before_tokenization(url, monkeypatch, given):
    monkeypatch.setattr(
        "handler.embedding.embedder.Tokenizer.encode", lambda *_: pytest.fail("the input was tokenized")
    )
    assert post(url, {"model": "tiny", "input": given}) == (400, "input_too_long")
