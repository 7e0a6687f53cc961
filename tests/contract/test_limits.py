"""Every limit: one below it, at it, and one above it, which is refused in the envelope before it costs anything."""

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from fastapi import FastAPI

from handler.api.app import create_app
from handler.api.limits import MAX_BODY_BYTES, MAX_HEADERS_BYTES, MAX_RESPONSE_BYTES, check_response_size
from handler.contract.schemas import MAX_INPUTS, MAX_NAME, MAX_TOKEN_IDS
from handler.embedding import cl100k
from handler.embedding.cl100k import MAX_CHARACTERS
from handler.errors import RequestError
from handler.lambda_events import LambdaHandler
from handler.models.catalog import Catalog
from handler.settings import Settings
from tests import tiny, wire
from tests.conftest import serve
from tests.events import KINDS, content, context, event

BODY = b'{"model": "tiny", "input": "a"}'
CONTEXT = context()
AROUND = (-1, 0, 1)  # one below the limit, the limit, one above
MAX_DEPTH = 200  # of pydantic's parser (jiter's), which has no setting for it


def padded(size: int) -> bytes:
    """Return a valid body of so many bytes."""
    return BODY + b" " * (size - len(BODY))


def code_of(body: bytes) -> str | None:
    error = json.loads(body)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert len(body) < 4_000
    code: str | None = error["code"]
    return code


@pytest.mark.parametrize("beyond", AROUND)
def test_the_body(url, beyond):
    body = padded(MAX_BODY_BYTES + beyond)
    head = wire.request("POST", "/v1/embeddings").replace(b"content-length: 0", b"transfer-encoding: chunked")
    for sent in (wire.request("POST", "/v1/embeddings", body=body), [head, *wire.chunked(body)]):
        answer = wire.send(url, sent)
        assert answer.status == (413 if beyond > 0 else 200)
        assert beyond <= 0 or code_of(answer.body) == "request_too_large"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("beyond", AROUND)
def test_the_body_of_an_event(app: FastAPI, kind, beyond):
    body = padded(MAX_BODY_BYTES + beyond)
    asked = event(kind, body)
    assert len(json.dumps(asked)) < MAX_RESPONSE_BYTES  # which is the limit of events, too: base64 always fits
    for each in (asked, event(kind, body.decode())):
        answer = LambdaHandler(app)(each, CONTEXT)
        assert answer["statusCode"] == (413 if beyond > 0 else 200)
        assert beyond <= 0 or content(answer)["error"]["code"] == "request_too_large"


def test_a_body_that_is_announced_as_too_large_is_not_waited_for(url):
    for length in (MAX_BODY_BYTES + 1, 10**19):
        head = wire.request("POST", "/v1/embeddings").replace(b"content-length: 0", b"content-length: %d" % length)
        answer = wire.send(url, head)
        assert (answer.status, code_of(answer.body)) == (413, "request_too_large")


@pytest.mark.parametrize("length", ["", "x", "-1", "9" * 5_000, "\u0663"])
def test_a_length_that_says_nothing_is_ignored_and_the_bytes_are_counted(app: FastAPI, length):
    asked = {"content-length": length}
    assert LambdaHandler(app)(event("http-api-2.0", BODY, **asked), CONTEXT)["statusCode"] == 200
    assert LambdaHandler(app)(event("http-api-2.0", padded(MAX_BODY_BYTES + 1), **asked), CONTEXT)["statusCode"] == 413


def test_without_a_key_no_body_is_read():
    settings = Settings(api_keys=(("alice", "0" * 64),))
    with serve(create_app(settings, Catalog.of([tiny.embedder(settings)], settings))) as url:
        head = wire.request("POST", "/v1/embeddings").replace(b"content-length: 0", b"content-length: %d" % 10**12)
        assert wire.send(url, head).status == 401


@pytest.mark.parametrize("beyond", AROUND)
@pytest.mark.parametrize("where", ["header", "query", "path"])
def test_the_head(url, beyond, where):
    empty = (
        b"host" + b"here" + b"content-length" + b"0" + b"/health" + {"header": b"x", "query": b"", "path": b"/"}[where]
    )
    room = "x" * (MAX_HEADERS_BYTES + beyond - len(empty))
    sent = {
        "header": wire.request("GET", "/health", f"x: {room}"),
        "query": wire.request("GET", f"/health?{room}"),
        "path": wire.request("GET", f"/health/{room}"),
    }[where]
    answer = wire.send(url, sent)
    assert answer.status == (431 if beyond > 0 else 404 if where == "path" else 200)
    assert beyond <= 0 or code_of(answer.body) == "headers_too_large"


def test_a_head_that_never_ends_is_given_up_by_the_server(url):
    with wire.connect(url) as connection, suppress(ConnectionError):
        connection.sendall(b"GET /health HTTP/1.1\r\nhost: here\r\n")
        for _ in range(200):
            connection.sendall(b"x: " + b"x" * 1_000 + b"\r\n")
        while connection.recv(1_024):
            pass
    assert wire.send(url, wire.request("GET", "/health")).status == 200


def post(url: str, body: object) -> tuple[int, str | None]:
    sent = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = wire.send(url, wire.request("POST", "/v1/embeddings", body=sent))
    return answer.status, None if answer.status == 200 else code_of(answer.body)


@pytest.mark.parametrize("beyond", AROUND)
def test_the_depth_of_the_json(url, beyond):
    depth = MAX_DEPTH + beyond - 1  # the object around it is one level, too
    for opening, closing in ((b"[", b"]"), (b'{"a":', b"}")):
        nested = opening * depth + b"1" + closing * depth
        expected = (400, "invalid_json") if beyond > 0 else (200, None)
        assert post(url, b'{"model": "tiny", "input": "a", "other": %b}' % nested) == expected


Limited = Callable[[int], dict[str, Any]]


@pytest.mark.parametrize("beyond", AROUND)
@pytest.mark.parametrize(
    ("limit", "field", "code"),
    [
        (MAX_INPUTS, lambda size: {"input": ["a"] * size}, "too_many_inputs"),
        (MAX_INPUTS, lambda size: {"input": [[2, 3]] * size}, "too_many_inputs"),
        (MAX_CHARACTERS, lambda size: {"input": "a" * size}, "input_too_long"),
        (MAX_CHARACTERS, lambda size: {"input": ["a", "\U0001f35c" * size]}, "input_too_long"),
        (tiny.MAX_TOKENS, lambda size: {"input": "a " * (size - 2)}, "context_length_exceeded"),
        (tiny.MAX_TOKENS, lambda size: {"input": [[2] * size]}, "context_length_exceeded"),
        (tiny.HIDDEN, lambda size: {"dimensions": size}, "invalid_value"),
    ],
    ids=["texts", "token arrays", "characters", "characters beyond 16 bits", "tokens", "own tokens", "dimensions"],
)
def test_what_is_in_the_body(url, beyond, limit, field: Limited, code):
    expected = (400, code) if beyond > 0 else (200, None)
    assert post(url, {"model": "tiny", "input": "a", **field(limit + beyond)}) == expected


@pytest.mark.parametrize("beyond", AROUND)
def test_token_ids_of_one_input(beyond):
    settings = Settings(auth_mode="none", token_input="native", long_input="window")
    with serve(create_app(settings, Catalog.of([tiny.embedder(settings)], settings))) as url:
        for given in ([5] * (MAX_TOKEN_IDS + beyond), [[5], [5] * (MAX_TOKEN_IDS + beyond)]):
            expected = (400, "input_too_long") if beyond > 0 else (200, None)
            assert post(url, {"model": "tiny", "input": given}) == expected


@pytest.mark.parametrize("beyond", AROUND)
def test_the_text_that_openais_token_ids_stand_for(beyond):
    settings = Settings(auth_mode="none", token_input="decode")
    sixteen, one = 338, 64
    assert (cl100k.decode([sixteen]), cl100k.decode([one])) == (" " * 16, "a")
    ids = [sixteen] * (MAX_CHARACTERS // 16 - 1) + [one] * (16 + beyond)
    with serve(create_app(settings, Catalog.of([tiny.embedder(settings)], settings))) as url:
        expected = (400, "input_too_long") if beyond > 0 else (200, None)
        assert post(url, {"model": "tiny", "input": ids}) == expected


@pytest.mark.parametrize("beyond", AROUND)
@pytest.mark.parametrize("letter", ["x", "\0", '"', "\U0001f35c"])
def test_the_name_of_a_model_which_is_repeated_in_the_answer(url, beyond, letter):
    expected = (400, "invalid_value") if beyond > 0 else (404, "model_not_found")
    assert post(url, {"model": letter * (MAX_NAME + beyond), "input": "a"}) == expected


@pytest.mark.parametrize("digits", [10, 309, 5_000, 1_000_000])
def test_numbers_however_large(url, digits):
    number = b"9" * digits
    for field in (b'"input": [%b]', b'"input": "a", "dimensions": %b', b'"input": "a", "other": %b'):
        status, _ = post(url, b'{"model": "tiny", %b}' % (field % number))
        assert status == 400 or b"other" in field


@pytest.mark.parametrize("encoding_format", ["float", "base64"])
def test_the_answer(encoding_format):
    low, high = 1, MAX_RESPONSE_BYTES
    while low < high:  # the most vectors that fit
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle, encoding_format) else (low, middle - 1)
    assert fits(low - 1, encoding_format)
    assert not fits(low + 1, encoding_format)


def fits(inputs: int, encoding_format: Any) -> bool:
    try:
        check_response_size(inputs, 1_024, encoding_format)
    except RequestError as error:
        return error.code != "response_too_large"
    return True


@pytest.mark.parametrize("given", ["a" * 1_000_000, "a " * 500_000, ["a", "\U0001f35c" * 250_000], [[5] * 500_000]])
def test_a_megabyte_in_one_input_is_refused_before_anything_is_made_of_it(url, monkeypatch, given):
    monkeypatch.setattr("handler.embedding.embedder.Tokenizer.encode", lambda *_: pytest.fail("it was tokenized"))
    assert post(url, {"model": "tiny", "input": given}) == (400, "input_too_long")
