"""Who does not get in: every attempt of tests/attacks.py on a service with keys, on the wire and in events."""

import hmac
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi import FastAPI

from handler.api import auth
from handler.api.app import create_app
from handler.api.keys import digest_of
from handler.errors import SettingsError
from handler.lambda_events import LambdaHandler
from handler.models.catalog import Catalog
from handler.settings import Settings
from tests import tiny, wire
from tests.attacks import HEADERS, KEY, RAW, ROUTES
from tests.conftest import serve
from tests.events import KINDS, content, context, event, headers

ORIGIN = "https://example.org"
CONTEXT = context()
BODY = '{"model": "tiny", "input": "the food"}'
# What an open route may say: none of the model's names, digests and sizes, nor of the machine.
SAYS_NOTHING = {
    "GET": ({"content-length", "content-type", "x-request-id", "vary"}, b'{"status":"ok"}'),
    "OPTIONS": (
        {"content-length", "content-type", "x-request-id", "vary"}
        | {f"access-control-{name}" for name in ("allow-origin", "allow-methods", "allow-headers", "max-age")},
        b"OK",
    ),
}


def create(**settings: Any) -> FastAPI:
    made = Settings(token_input="native", **{"api_keys": (("alice", digest_of(KEY)),), **settings})
    return create_app(made, Catalog.of([tiny.embedder(made)], made))


@pytest.fixture(scope="module")
def guarded() -> Iterator[str]:
    with serve(create(cors_origins=(ORIGIN,))) as url:
        yield url


def check_refusal(status: int, given: dict[str, str], body: bytes) -> None:
    """See that a refusal is in the envelope, says how to get in, and repeats no key."""
    error = json.loads(body)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (given.get("www-authenticate") == "Bearer") is (status == 401)
    assert KEY not in f"{given} {body!r}"
    assert digest_of(KEY) not in f"{given} {body!r}"
    assert "tiny" not in error["message"]


@pytest.mark.parametrize("attempt", HEADERS)
def test_headers_on_the_wire(guarded, attempt, record_property):
    record_property("attempt", f"Authorization: {attempt}|{HEADERS[attempt][1]}")
    values, expected = HEADERS[attempt]
    lines = [b"authorization: " + (value if isinstance(value, bytes) else value.encode()) for value in values]
    answer = wire.send(guarded, wire.request("POST", "/v1/embeddings", *lines, body=BODY.encode()))
    assert answer.status == expected
    if expected != 200:
        check_refusal(expected, answer.headers, answer.body)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("attempt", HEADERS)
def test_headers_in_events(attempt, kind):
    values, expected = HEADERS[attempt]
    asked = event(kind, BODY)
    for value in values:
        asked["headers"]["Authorization"] = str(value, "latin-1") if isinstance(value, bytes) else value
    answer = LambdaHandler(create())(asked, CONTEXT)
    assert answer["statusCode"] == expected
    if expected != 200:
        check_refusal(expected, headers(answer), answer["body"].encode())


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_routes_on_the_wire(guarded, method, path, record_property):
    record_property("attempt", f"`{method} {path}`, no key|{ROUTES[method, path]}")
    answer = wire.send(guarded, wire.request(method, path), method)
    expected = ROUTES[method, path]
    assert answer.status == expected
    if expected == 401 and method != "HEAD":
        check_refusal(expected, answer.headers, answer.body)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stage", ["$default", "prod"])
def test_routes_in_events(kind, stage):
    handler = LambdaHandler(create())
    for (method, path), expected in ROUTES.items():
        asked = event(kind, method=method, path=path)
        asked["requestContext"]["stage"] = stage
        opened = stage == "prod" and path == "/prod/health"  # the gateway's name for the open route
        assert handler(asked, CONTEXT)["statusCode"] == (200 if opened else expected), (method, path)


@pytest.mark.parametrize("attempt", RAW)
def test_what_only_exists_on_a_connection(guarded, attempt, record_property):
    record_property("attempt", f"bytes: {attempt}|{RAW[attempt][1]}")
    sent, expected = RAW[attempt]
    answer = wire.send(guarded, sent)
    assert answer.status == expected
    assert KEY.encode() not in answer.body
    if expected == 401:
        check_refusal(expected, answer.headers, answer.body)


def test_several_headers_in_an_event_of_the_rest_api():
    asked = event("rest-api-1.0", BODY)
    asked["multiValueHeaders"]["Authorization"] = [f"Bearer {KEY}", "Bearer sk-mallory"]
    assert LambdaHandler(create())(asked, CONTEXT)["statusCode"] == 401


def test_the_open_routes_say_nothing_of_model_or_host(guarded):
    preflight = [f"origin: {ORIGIN}", "access-control-request-method: POST"]
    for sent in (
        wire.request("GET", "/health"),
        wire.request("OPTIONS", "/v1/embeddings", *preflight),
        wire.request("OPTIONS", "/no/such/route", *preflight),
    ):
        answer = wire.send(guarded, sent)
        names, body = SAYS_NOTHING[sent.split()[0].decode()]
        assert answer.status == 200
        assert answer.body == body
        assert set(answer.headers) - {"date", "server"} <= names  # those two are the local server's


def test_a_preflight_from_elsewhere_is_refused_in_the_envelope(guarded):
    asked = ["origin: https://elsewhere.example", "access-control-request-method: POST"]
    answer = wire.send(guarded, wire.request("OPTIONS", "/v1/embeddings", *asked))
    assert (answer.status, json.loads(answer.body)["error"]["code"]) == (400, "origin_not_allowed")
    assert "access-control-allow-origin" not in answer.headers


def test_a_key_that_was_removed_lets_nobody_in_any_more():
    for keys, expected in (((("alice", digest_of(KEY)),), 200), ((("alice", digest_of("sk-new")),), 401), ((), 401)):
        asked = event("http-api-2.0", BODY, authorization=f"Bearer {KEY}")
        assert LambdaHandler(create(api_keys=keys))(asked, CONTEXT)["statusCode"] == expected


@pytest.mark.parametrize("given", ["", " ", ",", " , ,"])
def test_an_empty_list_of_keys_lets_nobody_in(given):
    keys = Settings.from_env({"API_KEYS": given}).api_keys
    for value in ([], ["Bearer"], ["Bearer "], [f"Bearer {KEY}"]):
        asked = event("http-api-2.0", BODY, **dict.fromkeys(["authorization"][: len(value)], "".join(value)))
        assert LambdaHandler(create(api_keys=keys))(asked, CONTEXT)["statusCode"] == 401


@pytest.mark.parametrize(
    "given",
    [
        *("alice", "alice:", f":{'0' * 64}", f"alice:{'0' * 63}", f"alice:{'0' * 65}", f"alice:{'A' * 64}", "*"),
        *(
            f"alice:{'g' * 64}",
            "alice:" + "\u0660" * 64,
            f"al ice:{'0' * 64}",
            f"alice:{'0' * 64}:x",
            f"{'n' * 65}:{'0' * 64}",
        ),
        *(
            f"alice={'0' * 64}",
            f"alice:{'0' * 64};bob:{'0' * 64}",
            f"alice:{'0' * 64},bob",
            KEY,
            f"alice:{KEY}",
            "null",
        ),
    ],
)
def test_a_malformed_list_of_keys_stops_the_start_and_is_not_repeated(given):
    with pytest.raises(SettingsError) as refused:
        Settings.from_env({"API_KEYS": given})
    assert KEY not in refused.value.message
    assert "0" * 64 not in refused.value.message


@pytest.mark.parametrize("mode", ["iam", "jwt"])
@pytest.mark.parametrize(
    "authorizer",
    [
        None,
        {},
        [],
        "iam jwt",
        ["iam", "jwt"],
        {"iam": None, "jwt": None},
        {"iam": {}, "jwt": {}},
        {"lambda": {"iam": 1}},
    ],
    ids=repr,
)
def test_an_authorizer_that_names_nobody_lets_nobody_in(mode, authorizer):
    asked = event("http-api-2.0", BODY, authorization=f"Bearer {KEY}")
    asked["requestContext"]["authorizer"] = authorizer
    asked["authorizer"] = {mode: {"claims": {"sub": "mallory"}}}
    assert LambdaHandler(create(auth_mode=mode))(asked, CONTEXT)["statusCode"] == 401


Compare = Callable[[str, str], bool]


@pytest.mark.parametrize(("offered", "name"), [("first", "a"), ("last", "c"), ("none of them", None)])
def test_every_key_is_compared_to_its_end_whichever_it_is(monkeypatch, offered, name):
    """Timing tells nothing because nothing depends on the key: always all digests, of one length, by compare_digest."""
    keys = {"a": digest_of("first"), "b": digest_of("second"), "c": digest_of("last")}
    compared, real = [], hmac.compare_digest

    def note(ours: str, theirs: str) -> bool:
        compared.append((ours, theirs))
        return real(ours, theirs)

    monkeypatch.setattr(auth, "compare_digest", note)
    answer = LambdaHandler(create(api_keys=tuple(keys.items())))(
        event("http-api-2.0", BODY, authorization=f"Bearer {offered}"), CONTEXT
    )
    assert answer["statusCode"] == (200 if name else 401)
    assert compared == [(digest_of(offered), expected) for expected in keys.values()]
    assert {len(digest) for pair in compared for digest in pair} == {64}
    assert content(answer)
