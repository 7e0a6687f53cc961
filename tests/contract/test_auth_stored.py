"""Attempts to bypass API keys on the routes of files, uploads and batches: refused before anything is stored."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from handler.api import openapi
from handler.api.keys import digest_of
from handler.lambda_events import LambdaHandler
from tests import raw_http
from tests.attacks import HEADERS, KEY
from tests.conftest import serve
from tests.contract.test_auth_attacks import check_error
from tests.events import KINDS, context, event, headers
from tests.stored import FORM, build, form

CONTEXT = context()
BODY = form(("file", "a.jsonl", b"{}"), ("purpose", None, b"batch"))
IDENTITY = {"iam": {"userId": "AIDAEXAMPLE"}, "jwt": {"claims": {"iss": "https://issuer.example", "sub": "alice"}}}


def build_app(folder: Path, **settings: Any) -> FastAPI:
    return build(folder, **{"auth_mode": "api-key", "api_keys": (("alice", digest_of(KEY)),), **settings})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def protected_url(folder: Path) -> Iterator[str]:
    with serve(build_app(folder)) as url:
        yield url


def operations(folder: Path) -> list[tuple[str, str]]:
    """Return the method and the path of each operation that the document describes on what is stored."""
    paths = openapi.build(build_app(folder))["paths"]
    found = [(method.upper(), path) for path, by_method in paths.items() for method in by_method]
    stored = [
        (method, path) for method, path in found if not path.startswith(("/v1/embeddings", "/v1/models", "/health"))
    ]
    assert len(stored) == 13
    return stored


@pytest.mark.parametrize("attack", HEADERS)
def test_authorization_header_gets_its_status(protected_url, folder, attack):
    values, expected = HEADERS[attack]
    lines = [b"authorization: " + (value if isinstance(value, bytes) else value.encode()) for value in values]
    lines.append(f"content-type: {FORM['content-type']}".encode())
    response = raw_http.send(protected_url, raw_http.request("POST", "/v1/files", *lines, body=BODY))
    assert response.status == expected
    if expected != 200:
        check_error(expected, response.headers, response.body)
        assert not folder.exists()


def test_every_operation_needs_a_key(protected_url, folder):
    for method, path in operations(folder):
        response = raw_http.send(protected_url, raw_http.request(method, path.replace("{", "").replace("}", "")))
        assert response.status == 401, (method, path)
        check_error(401, response.headers, response.body)
    assert not folder.exists()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", ["api-key", "iam", "jwt"])
def test_every_operation_needs_a_caller_in_events(folder, kind, mode):
    handler = LambdaHandler(build_app(folder, auth_mode=mode))
    for method, path in operations(folder):
        response = handler(event(kind, BODY, method=method, path=path, **FORM), CONTEXT)
        assert response["statusCode"] == 401, (method, path)
        check_error(401, headers(response), response["body"].encode())
    assert not folder.exists()


@pytest.mark.parametrize("mode", ["iam", "jwt"])
@pytest.mark.parametrize("claims", [{"iss": "https://issuer.example"}, {"client_id": "alice"}, {}])
def test_a_caller_without_an_identity_owns_nothing(folder, mode, claims):
    request_event = event("http-api-2.0", method="GET", path="/v1/files")
    request_event["requestContext"]["authorizer"] = {"jwt": {"claims": claims}, "iam": {"accountId": "1"}}
    response = LambdaHandler(build_app(folder, auth_mode=mode))(request_event, CONTEXT)
    assert response["statusCode"] == 401
    assert not folder.exists()


@pytest.mark.parametrize("mode", ["iam", "jwt"])
def test_a_caller_that_the_gateway_names_is_served(folder, mode):
    handler = LambdaHandler(build_app(folder, auth_mode=mode))
    request_event = event("http-api-2.0", BODY, path="/v1/files", **FORM)
    request_event["requestContext"]["authorizer"] = IDENTITY
    assert handler(request_event, CONTEXT)["statusCode"] == 200
    assert len(list((folder / "owners").iterdir())) == 1


def test_the_deployment_hook_owns_nothing(folder):
    """It may embed, and has no key that could own a file."""
    request_event = event("http-api-2.0", method="GET", path="/v1/files")
    request_event["requestContext"]["authorizer"] = {"deployment-hook": {"of": "stack"}}
    assert LambdaHandler(build_app(folder))(request_event, CONTEXT)["statusCode"] == 401
