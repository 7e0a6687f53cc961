"""Authentication: API keys over loopback, and events of deployments in which the gateway authenticates callers."""

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

ALICE, BOB, NEW = "sk-alice-of-wonderland", "sk-bob-the-builder-bob", "sk-alice-of-wonderland-new"
MALLORY = "sk-mallory-of-nowhere"
KEYS = (("alice", digest_of(ALICE)), ("bob", digest_of(BOB)), ("alice", digest_of(NEW)))
BODY = {"model": "tiny", "input": "the food"}


def build_app(**settings: Any) -> FastAPI:
    app_settings = Settings(token_input="native", **settings)
    return create_app(app_settings, Catalog.of([tiny.embedder(app_settings)], app_settings))


@pytest.fixture(scope="module")
def protected_client():
    app = build_app(api_keys=KEYS, cors_origins=("https://example.org",))
    with serve(app) as url, httpx2.Client(base_url=url) as http:
        yield http


def post(http: httpx2.Client, *authorization: str) -> httpx2.Response:
    return http.post("/v1/embeddings", json=BODY, headers=[("authorization", value) for value in authorization])


@pytest.mark.parametrize("key", [ALICE, BOB, NEW])
@pytest.mark.parametrize("form", ["Bearer {}", "bearer {}", "BEARER  {}"])
def test_every_configured_key_is_accepted(protected_client, key, form):
    assert post(protected_client, form.format(key)).status_code == 200


@pytest.mark.parametrize(
    ("authorization", "message"),
    [
        ([], "No API key: send it as the header 'Authorization: Bearer <key>'."),
        ([f"Bearer {MALLORY}"], "Incorrect API key: it is not one of the configured keys."),
        (["Bearer"], "Incorrect API key: it has fewer than 20 characters."),
        ([f"Bearer {MALLORY[:19]}"], "Incorrect API key: it has fewer than 20 characters."),
        ([f"Bearer {digest_of(ALICE)}"], "Incorrect API key: it is not one of the configured keys."),
        ([f"Bearer {ALICE}\xa0"], "Incorrect API key: it is not one of the configured keys."),
        (["Bearer s\xe9cret-of-twenty-letters"], "Incorrect API key: it is not one of the configured keys."),
        ([f"Bearer {ALICE.upper()}"], "Incorrect API key: it is not one of the configured keys."),
        ([f"Basic {ALICE}"], "Incorrect API key: send it as the header 'Authorization: Bearer <key>', once."),
        ([ALICE], "Incorrect API key: send it as the header 'Authorization: Bearer <key>', once."),
        (
            [f"Bearer {ALICE}", f"Bearer {MALLORY}"],
            "Incorrect API key: send it as the header 'Authorization: Bearer <key>', once.",
        ),
    ],
)
def test_missing_or_invalid_key_gets_a_401_that_names_the_remedy(protected_client, authorization, message):
    headers = [(b"authorization", value.encode("latin-1")) for value in authorization]
    response = protected_client.post("/v1/embeddings", json=BODY, headers=headers)
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"
    assert response.headers["x-request-id"]
    assert response.json()["error"] == {
        "message": message,
        "type": "invalid_request_error",
        "param": None,
        "code": "invalid_api_key",
    }


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([("api-key", ALICE)], 200),
        ([("Api-Key", ALICE)], 200),
        ([("api-key", MALLORY)], 401),
        ([("api-key", "")], 401),
        ([("api-key", digest_of(ALICE))], 401),
        ([("api-key", f"Bearer {ALICE}")], 401),
        ([("api-key", ALICE), ("api-key", ALICE)], 401),
        ([("authorization", f"Bearer {ALICE}"), ("api-key", MALLORY)], 200),
        ([("authorization", f"Bearer {MALLORY}"), ("api-key", ALICE)], 401),
        ([("x-api-key", ALICE)], 401),
    ],
)
@pytest.mark.parametrize("path", ["/v1/embeddings", "/openai/deployments/tiny/embeddings?api-version=2024-10-21"])
def test_key_may_be_in_azures_header_instead(protected_client, headers, status, path):
    response = protected_client.post(path, json=BODY, headers=headers)
    assert response.status_code == status
    assert status == 200 or response.json()["error"]["code"] == "invalid_api_key"


def test_azures_client_is_authenticated(protected_client):
    def azure(key: str) -> openai.AzureOpenAI:
        return openai.AzureOpenAI(
            azure_endpoint=str(protected_client.base_url), api_version="2024-10-21", api_key=key, max_retries=0
        )

    with azure(BOB) as client:
        assert client.embeddings.create(model="tiny", input="a").model == "tiny"
    with azure(MALLORY) as client, pytest.raises(openai.AuthenticationError):
        client.embeddings.create(model="tiny", input="a")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/openai/deployments/tiny/embeddings"),
        ("GET", "/openai/health"),
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
        ("HEAD", "/v1/embeddings"),
    ],
)
def test_every_route_except_health_requires_a_key(protected_client, method, path):
    assert protected_client.request(method, path).status_code == 401


def test_health_and_cors_preflights_need_no_key(protected_client):
    assert protected_client.get("/health").json() == {"status": "ok"}
    preflight = {
        "origin": "https://example.org",
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization",
    }
    assert protected_client.options("/v1/embeddings", headers=preflight).status_code == 200
    response = protected_client.post("/v1/embeddings", json=BODY, headers={"origin": "https://example.org"})
    assert response.headers["access-control-allow-origin"] == "https://example.org"  # so a web page can read the 401


@pytest.mark.parametrize("key", ["", "short", "nineteen-characters"])
def test_short_key_is_rejected_even_if_its_digest_is_configured(key):
    long = f"{key:-<20}"
    app = build_app(api_keys=(("short", digest_of(key)), ("long", digest_of(long))))
    for presented, status in ((key, 401), (long, 200)):
        request_event = event("http-api-2.0", json.dumps(BODY), authorization=f"Bearer {presented}")
        assert call(app, request_event)["statusCode"] == status


def test_official_client_raises_authentication_error(protected_client):
    base_url = f"{protected_client.base_url}/v1"
    with openai.OpenAI(base_url=base_url, api_key=ALICE) as client:
        assert client.embeddings.create(model="tiny", input="the food").data
    unauthorized = openai.OpenAI(base_url=base_url, api_key=MALLORY)
    with unauthorized, pytest.raises(openai.AuthenticationError) as raised:
        unauthorized.embeddings.create(model="tiny", input="the food")
    assert raised.value.code == "invalid_api_key"


def test_openapi_document_describes_api_keys(protected_client):
    document = protected_client.get("/openapi.json", headers={"authorization": f"Bearer {ALICE}"}).json()
    assert document["security"] == [{"key": []}, {"azure": []}]
    assert document["components"]["securitySchemes"] == {
        "key": {"type": "http", "scheme": "bearer"},
        "azure": {"type": "apiKey", "in": "header", "name": "api-key"},
    }
    documented = document["paths"]["/v1/embeddings"]["post"]["responses"]["401"]["content"]["application/json"]
    assert documented["example"] == post(protected_client, f"Bearer {MALLORY}").json()
    assert document["paths"]["/health"]["get"]["security"] == []
    assert "401" not in document["paths"]["/health"]["get"]["responses"]


def test_without_configured_keys_every_request_is_rejected_with_the_reason():
    response = call(build_app(), event("http-api-2.0", json.dumps(BODY), authorization=f"Bearer {ALICE}"))
    assert response["statusCode"] == 401
    assert content(response)["error"]["message"].startswith("No API key is configured, so every request is refused")


@pytest.mark.parametrize("mode", ["iam", "jwt"])
@pytest.mark.parametrize("kind", ["http-api-2.0", "function-url"])
def test_request_without_an_authorizers_result_is_rejected(mode, kind):
    app = build_app(auth_mode=mode)
    request_event = event(kind, json.dumps(BODY), authorization=f"Bearer {ALICE}")
    assert call(app, request_event)["statusCode"] == 401
    request_event["requestContext"]["authorizer"] = {"lambda": {}}
    assert call(app, request_event)["statusCode"] == 401
    request_event["requestContext"]["authorizer"] = {mode: {"claims": {"sub": "someone"}}}
    assert call(app, request_event)["statusCode"] == 200


def call(app: FastAPI, request_event: dict[str, Any]) -> dict[str, Any]:
    return Mangum(app, lifespan="off")(request_event, context())
