"""Who gets in: the app with API keys on a loopback port, and the events of deployments where the gateway checks."""

import json
from typing import Any

import httpx2
import openai
import pytest
from fastapi import FastAPI
from mangum import Mangum

from handler.api.app import create_app
from handler.api.keys import digest_of
from handler.models.catalog import Catalog
from handler.settings import Settings
from tests import tiny
from tests.conftest import serve
from tests.events import content, context, event

ALICE, BOB, NEW = "sk-alice", "sk-bob", "sk-alice-new"
KEYS = (("alice", digest_of(ALICE)), ("bob", digest_of(BOB)), ("alice", digest_of(NEW)))
BODY = {"model": "tiny", "input": "the food"}


def create(**settings: Any) -> FastAPI:
    made = Settings(token_input="native", **settings)
    return create_app(made, Catalog.of([tiny.embedder(made)], made))


@pytest.fixture(scope="module")
def guarded():
    app = create(api_keys=KEYS, cors_origins=("https://example.org",))
    with serve(app) as url, httpx2.Client(base_url=url) as http:
        yield http


def ask(http: httpx2.Client, *authorization: str) -> httpx2.Response:
    return http.post("/v1/embeddings", json=BODY, headers=[("authorization", value) for value in authorization])


@pytest.mark.parametrize("key", [ALICE, BOB, NEW])
@pytest.mark.parametrize("form", ["Bearer {}", "bearer {}", "BEARER  {}"])
def test_every_configured_key_lets_its_holder_in(guarded, key, form):
    assert ask(guarded, form.format(key)).status_code == 200


@pytest.mark.parametrize(
    ("authorization", "message"),
    [
        ([], "No API key: send it as the header 'Authorization: Bearer <key>'."),
        (["Bearer sk-mallory"], "Incorrect API key: it is not one of the configured keys."),
        (["Bearer"], "Incorrect API key: it is not one of the configured keys."),
        ([f"Bearer {digest_of(ALICE)}"], "Incorrect API key: it is not one of the configured keys."),
        (["Bearer s\xe9cret"], "Incorrect API key: it is not one of the configured keys."),
        ([f"Bearer {ALICE.upper()}"], "Incorrect API key: it is not one of the configured keys."),
        ([f"Basic {ALICE}"], "Incorrect API key: send it as the header 'Authorization: Bearer <key>', once."),
        ([ALICE], "Incorrect API key: send it as the header 'Authorization: Bearer <key>', once."),
        (
            [f"Bearer {ALICE}", "Bearer sk-mallory"],
            "Incorrect API key: send it as the header 'Authorization: Bearer <key>', once.",
        ),
    ],
)
def test_without_one_the_answer_is_401_and_says_what_to_do(guarded, authorization, message):
    headers = [(b"authorization", value.encode("latin-1")) for value in authorization]
    answer = guarded.post("/v1/embeddings", json=BODY, headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.headers["x-request-id"]
    assert answer.json()["error"] == {
        "message": message,
        "type": "invalid_request_error",
        "param": None,
        "code": "invalid_api_key",
    }


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/embeddings"),
        ("POST", "//v1//embeddings/"),
        ("POST", "/v1/v1/embeddings"),
        ("GET", "/v1/models"),
        ("GET", "/v1/models/tiny"),
        ("GET", "/openapi.json"),
        ("GET", "/nothing"),
        ("GET", "/health/../v1/models"),
        ("GET", "/health/"),
        ("OPTIONS", "/v1/embeddings"),
        ("HEAD", "/v1/models"),
    ],
)
def test_nothing_but_health_is_open(guarded, method, path):
    assert guarded.request(method, path).status_code == 401


def test_health_and_preflights_need_no_key(guarded):
    assert guarded.get("/health").json() == {"status": "ok"}
    asked = {
        "origin": "https://example.org",
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization",
    }
    assert guarded.options("/v1/embeddings", headers=asked).status_code == 200
    refused = guarded.post("/v1/embeddings", json=BODY, headers={"origin": "https://example.org"})
    assert refused.headers["access-control-allow-origin"] == "https://example.org"  # so that a page can read the 401


def test_the_official_client_sees_an_authentication_error(guarded):
    base_url = f"{guarded.base_url}/v1"
    with openai.OpenAI(base_url=base_url, api_key=ALICE) as client:
        assert client.embeddings.create(model="tiny", input="the food").data
    stranger = openai.OpenAI(base_url=base_url, api_key="sk-mallory")
    with stranger, pytest.raises(openai.AuthenticationError) as refused:
        stranger.embeddings.create(model="tiny", input="the food")
    assert refused.value.code == "invalid_api_key"


def test_the_openapi_document_describes_the_keys(guarded):
    document = guarded.get("/openapi.json", headers={"authorization": f"Bearer {ALICE}"}).json()
    assert document["security"] == [{"key": []}]
    assert document["components"]["securitySchemes"] == {"key": {"type": "http", "scheme": "bearer"}}
    assert "401" in document["paths"]["/v1/embeddings"]["post"]["responses"]
    assert document["paths"]["/health"]["get"]["security"] == []
    assert "401" not in document["paths"]["/health"]["get"]["responses"]


def test_with_no_key_configured_everybody_is_refused_and_told_why():
    answer = call(create(), event("http-api-2.0", json.dumps(BODY), authorization=f"Bearer {ALICE}"))
    assert answer["statusCode"] == 401
    assert content(answer)["error"]["message"].startswith("No API key is configured, so every request is refused")


@pytest.mark.parametrize("mode", ["iam", "jwt"])
@pytest.mark.parametrize("kind", ["http-api-2.0", "function-url"])
def test_a_request_that_no_authorizer_has_checked_is_refused(mode, kind):
    app, asked = create(auth_mode=mode), event(kind, json.dumps(BODY), authorization=f"Bearer {ALICE}")
    assert call(app, asked)["statusCode"] == 401
    asked["requestContext"]["authorizer"] = {"lambda": {}}
    assert call(app, asked)["statusCode"] == 401
    asked["requestContext"]["authorizer"] = {mode: {"claims": {"sub": "someone"}}}
    assert call(app, asked)["statusCode"] == 200


def call(app: FastAPI, asked: dict[str, Any]) -> dict[str, Any]:
    return Mangum(app, lifespan="off")(asked, context())
