"""Events, headers, paths and bodies of every kind: no 5xx, nothing uncaught, nobody let in, and always the envelope."""

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
SENT = st.one_of(BODIES.map(json.dumps), st.binary(max_size=200), st.text(max_size=50))


@cache
def function(mode: AuthMode) -> LambdaHandler:
    keys = (("alice", "0" * 64),)
    settings = Settings(
        workers=2, auth_mode=mode, api_keys=keys, cors_origins=("https://example.org",), token_input="native"
    )
    return LambdaHandler(create_app(settings, Catalog.of([tiny.embedder(settings)], settings)))


def check(answer: dict[str, Any]) -> int:
    """See that an answer is one: no 5xx, no NaN, the envelope for a refusal; return its status."""
    status = int(answer["statusCode"])
    json.dumps(answer, allow_nan=False)
    assert status < 500, answer
    if status >= 400 and answer["body"]:
        assert set(content(answer)["error"]) == {"message", "type", "param", "code"}
    elif answer["body"].startswith('{"object":"list","data":[{"object":"embedding"'):
        for row in content(answer)["data"]:
            assert isinstance(row["embedding"], str) or all(map(math.isfinite, row["embedding"]))
    return status


@pytest.mark.parametrize("kind", KINDS)
@fuzz(mode=st.sampled_from(MODES), line=st.tuples(METHODS, PATHS), headers=HEADERS, body=SENT)
def test_what_a_caller_can_write_into_an_event(
    kind: str, mode: AuthMode, line: tuple[str, str], headers: dict[str, str], body: str | bytes
) -> None:
    method, path = line
    asked = event(kind, body, method=method, path=path)
    asked["headers"] |= headers
    status = check(function(mode)(asked, CONTEXT))
    opened = path in {"/health", "/%68ealth"} or (method == "OPTIONS" and "origin" in headers)
    assert status != 200 or mode == "none" or opened


@fuzz(
    kind=st.sampled_from(KINDS), body=BODIES.map(json.dumps), choices=st.lists(st.integers(0, 50), max_size=5), new=JSON
)
def test_an_event_with_another_value_somewhere(kind: str, body: str, choices: list[int], new: Any) -> None:
    asked = node = event(kind, body)
    key = "body"
    for choice in choices:
        if not (isinstance(node, dict) and node):
            break
        key, parent = list(node)[choice % len(node)], node
        node = node[key]
    else:
        parent = parent if choices else asked
    parent[key] = new
    check(function("none")(asked, CONTEXT))


@fuzz(kind=st.sampled_from(KINDS), at=st.integers(0, 10_000), new=st.binary(max_size=4), cut=st.integers(0, 20))
def test_an_event_with_other_bytes_somewhere(kind: str, at: int, new: bytes, cut: int) -> None:
    sent = json.dumps(event(kind, '{"model": "tiny", "input": "a"}')).encode()
    at %= len(sent)
    try:
        asked = json.loads(sent[:at] + new + sent[at + cut :])
    except ValueError:
        return  # Lambda takes nothing else either
    check(function("none")(asked, CONTEXT))


@fuzz(asked=JSON)
def test_an_event_of_any_json(asked: Any) -> None:
    assert check(function("none")(asked, CONTEXT)) == 400


@pytest.mark.parametrize("path", ["/v1/embeddings", "/v1/models", "/v1/models/{model}", "/health"])
def test_the_document(url, path):
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json").include(path=path)
    checks = [not_a_server_error, status_code_conformance, response_schema_conformance]
    for operation in schema.get_all_operations():
        assert isinstance(operation, Ok)
        strategy = operation.ok().as_strategy()

        @fuzz(case=strategy)
        def test_requests_made_from_the_document(case: schemathesis.Case[Any]) -> None:
            case.call_and_validate(checks=checks)

        test_requests_made_from_the_document()
