"""Attempts to bypass API keys: every attack of tests/attacks.py, over loopback and in Lambda events."""

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
from tests import raw_http, tiny
from tests.attacks import HEADERS, KEY, RAW_REQUESTS, ROUTES
from tests.conftest import serve
from tests.events import KINDS, content, context, event, headers

ORIGIN = "https://example.org"
CONTEXT = context()
BODY = '{"model": "tiny", "input": "the food"}'
# The headers and the body that a public route may send: nothing about the model or the host.
PUBLIC_RESPONSES = {
    "GET": ({"content-length", "content-type", "x-request-id", "vary"}, b'{"status":"ok"}'),
    "OPTIONS": (
        {"content-length", "content-type", "x-request-id", "vary"}
        | {f"access-control-{name}" for name in ("allow-origin", "allow-methods", "allow-headers", "max-age")},
        b"OK",
    ),
}


def build_app(**settings: Any) -> FastAPI:
    app_settings = Settings(token_input="native", **{"api_keys": (("alice", digest_of(KEY)),), **settings})
    return create_app(app_settings, Catalog.of([tiny.embedder(app_settings)], app_settings))


@pytest.fixture(scope="module")
def protected_url() -> Iterator[str]:
    with serve(build_app(cors_origins=(ORIGIN,))) as url:
        yield url


def check_error(status: int, headers: dict[str, str], body: bytes) -> None:
    """Check that an error has the envelope, names the scheme if it is a 401, and contains no key or model name."""
    error = json.loads(body)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (headers.get("www-authenticate") == "Bearer") is (status == 401)
    assert KEY not in f"{headers} {body!r}"
    assert digest_of(KEY) not in f"{headers} {body!r}"
    assert "tiny" not in error["message"]


@pytest.mark.parametrize("attack", HEADERS)
def test_authorization_header_gets_its_status_over_loopback(protected_url, attack, record_property):
    record_property("attempt", f"Authorization: {attack}|{HEADERS[attack][1]}")
    values, expected = HEADERS[attack]
    lines = [b"authorization: " + (value if isinstance(value, bytes) else value.encode()) for value in values]
    response = raw_http.send(protected_url, raw_http.request("POST", "/v1/embeddings", *lines, body=BODY.encode()))
    assert response.status == expected
    if expected != 200:
        check_error(expected, response.headers, response.body)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("attack", HEADERS)
def test_authorization_header_gets_its_status_in_events(attack, kind):
    values, expected = HEADERS[attack]
    request_event = event(kind, BODY)
    for value in values:
        request_event["headers"]["Authorization"] = str(value, "latin-1") if isinstance(value, bytes) else value
    response = LambdaHandler(build_app())(request_event, CONTEXT)
    assert response["statusCode"] == expected
    if expected != 200:
        check_error(expected, headers(response), response["body"].encode())


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_route_without_a_key_gets_its_status_over_loopback(protected_url, method, path, record_property):
    record_property("attempt", f"`{method} {path}`, no key|{ROUTES[method, path]}")
    response = raw_http.send(protected_url, raw_http.request(method, path), method)
    expected = ROUTES[method, path]
    assert response.status == expected
    if expected == 401 and method != "HEAD":
        check_error(expected, response.headers, response.body)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stage", ["$default", "prod"])
def test_routes_without_a_key_get_their_status_in_events(kind, stage):
    handler = LambdaHandler(build_app())
    for (method, path), expected in ROUTES.items():
        request_event = event(kind, method=method, path=path)
        request_event["requestContext"]["stage"] = stage
        is_health = stage == "prod" and path == "/prod/health"  # the path of /health behind a named stage
        assert handler(request_event, CONTEXT)["statusCode"] == (200 if is_health else expected), (method, path)


@pytest.mark.parametrize("attack", RAW_REQUESTS)
def test_raw_request_gets_its_status(protected_url, attack, record_property):
    record_property("attempt", f"bytes: {attack}|{RAW_REQUESTS[attack][1]}")
    payload, expected = RAW_REQUESTS[attack]
    response = raw_http.send(protected_url, payload)
    assert response.status == expected
    assert KEY.encode() not in response.body
    if expected == 401:
        check_error(expected, response.headers, response.body)


def test_repeated_authorization_headers_in_a_rest_api_event_are_rejected():
    request_event = event("rest-api-1.0", BODY)
    request_event["multiValueHeaders"]["Authorization"] = [f"Bearer {KEY}", "Bearer sk-mallory"]
    assert LambdaHandler(build_app())(request_event, CONTEXT)["statusCode"] == 401


def test_public_routes_reveal_nothing_about_model_or_host(protected_url):
    preflight = [f"origin: {ORIGIN}", "access-control-request-method: POST"]
    for payload in (
        raw_http.request("GET", "/health"),
        raw_http.request("OPTIONS", "/v1/embeddings", *preflight),
        raw_http.request("OPTIONS", "/no/such/route", *preflight),
    ):
        response = raw_http.send(protected_url, payload)
        names, body = PUBLIC_RESPONSES[payload.split()[0].decode()]
        assert response.status == 200
        assert response.body == body
        assert set(response.headers) - {"date", "server"} <= names  # uvicorn adds these two locally


def test_preflight_of_another_origin_gets_an_error_envelope(protected_url):
    preflight = ["origin: https://elsewhere.example", "access-control-request-method: POST"]
    response = raw_http.send(protected_url, raw_http.request("OPTIONS", "/v1/embeddings", *preflight))
    assert (response.status, json.loads(response.body)["error"]["code"]) == (400, "origin_not_allowed")
    assert "access-control-allow-origin" not in response.headers


def test_preflight_to_a_private_network_gets_an_error_envelope(protected_url):
    preflight = ["access-control-request-method: POST", "access-control-request-private-network: true"]
    payload = raw_http.request("OPTIONS", "/v1/embeddings", f"origin: {ORIGIN}", *preflight)
    response = raw_http.send(protected_url, payload)
    assert (response.status, json.loads(response.body)["error"]["code"]) == (400, "origin_not_allowed")
    assert not {name for name in response.headers if name.startswith("access-control-")}


def test_removed_key_is_rejected():
    for keys, expected in (((("alice", digest_of(KEY)),), 200), ((("alice", digest_of("sk-new")),), 401), ((), 401)):
        request_event = event("http-api-2.0", BODY, authorization=f"Bearer {KEY}")
        assert LambdaHandler(build_app(api_keys=keys))(request_event, CONTEXT)["statusCode"] == expected


@pytest.mark.parametrize("given", ["", " ", ",", " , ,"])
def test_empty_list_of_keys_rejects_every_request(given):
    keys = Settings.from_env({"API_KEYS": given}).api_keys
    for value in (None, "Bearer", "Bearer ", f"Bearer {KEY}"):
        authorization = {} if value is None else {"authorization": value}
        request_event = event("http-api-2.0", BODY, **authorization)
        assert LambdaHandler(build_app(api_keys=keys))(request_event, CONTEXT)["statusCode"] == 401


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
def test_malformed_list_of_keys_raises_a_settings_error_without_the_keys(given):
    with pytest.raises(SettingsError) as raised:
        Settings.from_env({"API_KEYS": given})
    assert KEY not in raised.value.message
    assert "0" * 64 not in raised.value.message


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
def test_empty_authorizer_result_is_rejected(mode, authorizer):
    request_event = event("http-api-2.0", BODY, authorization=f"Bearer {KEY}")
    request_event["requestContext"]["authorizer"] = authorizer
    request_event["authorizer"] = {mode: {"claims": {"sub": "mallory"}}}
    assert LambdaHandler(build_app(auth_mode=mode))(request_event, CONTEXT)["statusCode"] == 401


Compare = Callable[[str, str], bool]
FIRST, LAST = "the-first-of-three-keys", "the-last-of-three-keys"


@pytest.mark.parametrize(("offered", "name"), [(FIRST, "a"), (LAST, "c"), (f"{FIRST} and {LAST}", None)])
def test_every_configured_key_is_compared_in_constant_time(monkeypatch, offered, name):
    """Every request compares all digests, which have one length, with compare_digest: its timing reveals no key."""
    keys = {"a": digest_of(FIRST), "b": digest_of(KEY), "c": digest_of(LAST)}
    compared, real = [], hmac.compare_digest

    def record(ours: str, theirs: str) -> bool:
        compared.append((ours, theirs))
        return real(ours, theirs)

    monkeypatch.setattr(auth, "compare_digest", record)
    response = LambdaHandler(build_app(api_keys=tuple(keys.items())))(
        event("http-api-2.0", BODY, authorization=f"Bearer {offered}"), CONTEXT
    )
    assert response["statusCode"] == (200 if name else 401)
    assert compared == [(digest_of(offered), expected) for expected in keys.values()]
    assert {len(digest) for pair in compared for digest in pair} == {64}
    assert content(response)
