"""Arbitrary events, headers, paths and bodies: no 5xx, no uncaught exception, no bypass of authentication."""

import json
import math
from functools import cache
from typing import Any

import pytest
import schemathesis
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

from handler.api.app import create_app
from handler.lambda_events import LambdaHandler
from handler.models.catalog import Catalog
from handler.settings import AuthMode, Settings
from tests import tiny
from tests.events import KINDS, content, context, event
from tests.fuzz import JSON, PIECES, TEXTS, fuzz
from tests.fuzz.test_parsing import BODIES

CONTEXT = context()
MODES: tuple[AuthMode, ...] = ("none", "api-key", "iam")
ROUTES = ("/v1/embeddings", "/v1/models", "/v1/models/tiny", "/health", "/openapi.json", "/")
PATHS = st.one_of(st.sampled_from(ROUTES), st.lists(st.one_of(PIECES, st.sampled_from(ROUTES), TEXTS)).map("".join))
METHODS = st.one_of(st.sampled_from(["GET", "POST", "OPTIONS", "HEAD", "DELETE"]), st.text(max_size=8))
NAMES = ("authorization", "origin", "access-control-request-method", "content-type", "content-length", "host", "x")
HEADERS = st.dictionaries(st.one_of(st.sampled_from(NAMES), st.text(max_size=8)), st.text(max_size=30), max_size=5)
PAYLOADS = st.one_of(BODIES.map(json.dumps), st.binary(max_size=200), st.text(max_size=50))


@cache
def function(mode: AuthMode) -> LambdaHandler:
    keys = (("alice", "0" * 64),)
    settings = Settings(
        workers=2, auth_mode=mode, api_keys=keys, cors_origins=("https://example.org",), token_input="native"
    )
    return LambdaHandler(create_app(settings, Catalog.of([tiny.embedder(settings)], settings)))


def check(response: dict[str, Any]) -> int:
    """Check that a response has no 5xx, no NaN, and the envelope if it is an error; return its status."""
    status = int(response["statusCode"])
    json.dumps(response, allow_nan=False)
    assert status < 500, response
    if status >= 400 and response["body"]:
        assert set(content(response)["error"]) == {"message", "type", "param", "code"}
    elif response["body"].startswith('{"object":"list","data":[{"object":"embedding"'):
        for row in content(response)["data"]:
            assert isinstance(row["embedding"], str) or all(map(math.isfinite, row["embedding"]))
    return status


@pytest.mark.parametrize("kind", KINDS)
@fuzz(mode=st.sampled_from(MODES), line=st.tuples(METHODS, PATHS), headers=HEADERS, body=PAYLOADS)
def test_events_with_arbitrary_requests(
    kind: str, mode: AuthMode, line: tuple[str, str], headers: dict[str, str], body: str | bytes
) -> None:
    method, path = line
    request_event = event(kind, body, method=method, path=path)
    request_event["headers"] |= headers
    status = check(function(mode)(request_event, CONTEXT))
    is_public = path in {"/health", "/%68ealth"} or (method == "OPTIONS" and "origin" in headers)
    assert status != 200 or mode == "none" or is_public


@fuzz(
    kind=st.sampled_from(KINDS), body=BODIES.map(json.dumps), choices=st.lists(st.integers(0, 50), max_size=5), new=JSON
)
def test_events_with_one_value_replaced(kind: str, body: str, choices: list[int], new: Any) -> None:
    request_event = node = event(kind, body)
    key = "body"
    for choice in choices:
        if not (isinstance(node, dict) and node):
            break
        key, parent = list(node)[choice % len(node)], node
        node = node[key]
    else:
        parent = parent if choices else request_event
    parent[key] = new
    check(function("none")(request_event, CONTEXT))


@fuzz(kind=st.sampled_from(KINDS), at=st.integers(0, 10_000), new=st.binary(max_size=4), cut=st.integers(0, 20))
def test_events_with_bytes_replaced(kind: str, at: int, new: bytes, cut: int) -> None:
    valid = json.dumps(event(kind, '{"model": "tiny", "input": "a"}')).encode()
    at %= len(valid)
    try:
        request_event = json.loads(valid[:at] + new + valid[at + cut :])
    except ValueError:
        return  # Lambda accepts only JSON
    check(function("none")(request_event, CONTEXT))


@fuzz(request_event=JSON)
def test_events_of_arbitrary_json(request_event: Any) -> None:
    assert check(function("none")(request_event, CONTEXT)) == 400


@pytest.mark.parametrize("path", ["/v1/embeddings", "/v1/models", "/v1/models/{model}", "/health"])
def test_operations_of_the_openapi_document(url, path):
    check_operations(url, path)


def check_operations(url: str, path: str) -> None:
    """Check that requests generated from the document of a service get the responses that it describes."""
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json").include(path=path)
    checks = [not_a_server_error, status_code_conformance, response_schema_conformance]
    for operation in schema.get_all_operations():
        assert isinstance(operation, Ok)
        strategy = operation.ok().as_strategy()

        @fuzz(case=strategy)
        def test_requests_generated_from_the_openapi_document(case: schemathesis.Case[Any]) -> None:
            case.call_and_validate(checks=checks)

        test_requests_generated_from_the_openapi_document()
