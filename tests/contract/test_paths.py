"""Variants of the base URL, and cross-origin requests of web pages."""

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from mangum import Mangum

from handler.api.app import create_app
from handler.lambda_events import LambdaHandler
from handler.models.catalog import Catalog
from handler.settings import Settings
from tests import tiny
from tests.conftest import serve
from tests.contract.test_lambda import BODY, CONTEXT
from tests.events import KINDS, event

ORIGIN = "https://example.com"


@pytest.mark.parametrize(
    "path",
    [
        *("/v1/embeddings", "/embeddings", "/v1/v1/embeddings", "/v1/embeddings/", "/embeddings/", "//v1//embeddings"),
        *("/openai/v1/embeddings", "/openai/v1/embeddings/", "/v1/openai/v1/embeddings", "/openai/embeddings"),
        *("/v1/embeddings/embeddings", "/embeddings/embeddings", "//v1/embeddings//embeddings/"),
    ],
)
def test_variants_of_the_embeddings_path_reach_the_route(client, path):
    response = client.post(path, content=BODY, follow_redirects=False)
    assert response.status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        *("/models", "/v1/models/", "/v1/v1/models", "/models/tiny", "/v1/models/someone/tiny/"),
        *("/v1/embeddings/models", "/openai/v1/models", "/openai/models?api-version=2024-10-21"),
    ],
)
def test_variants_of_the_models_paths_reach_their_routes(client, path):
    response = client.get(path, follow_redirects=False)
    assert (response.status_code, response.headers["content-type"]) == (200, "application/json")


@pytest.mark.parametrize("path", ["/v1", "/", "/v2/embeddings", "/v1/embeddings/extra", "/xembeddings"])
def test_other_paths_are_not_found_and_the_error_says_what_the_base_url_ends_in(client, path):
    response = client.post(path, content=BODY)
    assert response.status_code == 404
    assert "base URL should end in /v1, such as https://<host>/v1" in response.json()["error"]["message"]


AZURE = "/openai/deployments/tiny/embeddings"


@pytest.mark.parametrize(
    "path",
    [
        *(AZURE, f"{AZURE}/", f"/v1{AZURE}", "/openai/v1/deployments/tiny/embeddings", "/deployments/tiny/embeddings"),
        *("/openai/deployments/someone/tiny/embeddings", "/openai/deployments/text-embedding-ada-002/embeddings"),
    ],
)
@pytest.mark.parametrize("model", [{}, {"model": "tiny"}, {"model": "gpt-4"}, {"model": ""}])
def test_azures_path_names_the_model(client, path, model):
    fields = {"input": ["the food", "a"], "encoding_format": "float"}
    plain = client.post("/v1/embeddings", json={"model": "tiny", **fields})
    response = client.post(f"{path}?api-version=2024-10-21", json={**model, **fields})
    assert (response.status_code, response.json()) == (200, plain.json())


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/openai/deployments/nope/embeddings", 404, "model_not_found"),
        ("/openai/deployments/tiny/chat/completions", 404, "not_found"),
        ("/openai/deployments/embeddings", 404, "not_found"),
        (AZURE, 400, "missing_required_parameter"),
    ],
)
def test_errors_on_azures_path(client, path, status, code):
    response = client.post(path, json={} if status == 400 else {"input": "a"})
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)


@pytest.mark.parametrize("kind", KINDS)
def test_azures_path_in_events(app, kind):
    assert LambdaHandler(app)(event(kind, BODY, path=AZURE), CONTEXT)["statusCode"] == 200


def test_azures_path_below_a_base_path(mapped):
    assert mapped(custom_domain_event("http-api-2.0", f"/team/emb{AZURE}"), CONTEXT)["statusCode"] == 200


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
def test_there_is_no_page_of_the_framework(client, path):
    assert client.get(path).status_code == 404


HEADS = [("/health", 200), ("/models/", 200), ("/v1/models/tiny", 200), ("/openapi.json", 200)]
HEADS += [("/v1/embeddings", 405), ("/v1/models/nope", 404), ("/nope", 404)]


@pytest.mark.parametrize(("path", "status"), HEADS)
def test_head_is_get_without_the_body(client, path, status):
    got, head = client.get(path), client.head(path)
    for response in (got, head):
        del response.headers["x-request-id"], response.headers["date"]
    assert (head.status_code, head.headers, head.content) == (status, got.headers, b"")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("path", "status"), HEADS)
def test_head_is_get_without_the_body_in_events_too(app, kind, path, status):
    got, head = (LambdaHandler(app)(event(kind, method=method, path=path), CONTEXT) for method in ("GET", "HEAD"))
    assert head == {**got, "body": ""}
    assert head["statusCode"] == status


@pytest.mark.parametrize("path", ["/prod/v1/embeddings", "/prod/embeddings"])
def test_stage_prefix_is_removed_from_the_path(app, path):
    request_event = event("http-api-2.0", BODY, path=path)
    request_event["requestContext"]["stage"] = "prod"
    assert Mangum(app, lifespan="off")(request_event, CONTEXT)["statusCode"] == 200


def test_path_that_merely_starts_with_the_stages_name_is_unchanged(app):
    request_event = event("http-api-2.0", BODY, path="/prodembeddings")
    request_event["requestContext"]["stage"] = "prod"
    assert Mangum(app, lifespan="off")(request_event, CONTEXT)["statusCode"] == 404


@pytest.fixture(scope="module")
def mapped() -> Mangum:
    settings = Settings(base_path="team/emb", auth_mode="none")
    return Mangum(create_app(settings, Catalog.of([tiny.embedder(settings)], settings)), lifespan="off")


def custom_domain_event(kind: str, path: str, method: str = "POST") -> dict[str, Any]:
    """Return the event of a request to a custom domain whose path `team/emb` is mapped to the API."""
    made = event(kind, BODY if method == "POST" else "", path=path, method=method, host="api.example.com")
    made["requestContext"] |= {"domainName": "api.example.com", "domainPrefix": "api"}
    if kind == "rest-api-1.0":
        made["resource"] = "/{proxy+}"
        made["requestContext"] |= {"path": path, "customDomain": {"basePathMatched": "team/emb"}}
    return made


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("path", ["/team/emb/v1/embeddings", "/team/emb/embeddings", "/team/emb/v1/embeddings/"])
def test_base_path_of_a_custom_domain_is_removed(mapped, kind, path):
    assert mapped(custom_domain_event(kind, path), CONTEXT)["statusCode"] == 200


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("path", ["/v1/embeddings", "/embeddings"])
def test_path_without_the_base_path_reaches_the_route_too(mapped, kind, path):
    assert mapped(custom_domain_event(kind, path), CONTEXT)["statusCode"] == 200


def test_base_path_after_a_stage_is_removed(mapped):
    request_event = custom_domain_event("http-api-2.0", "/prod/team/emb/v1/embeddings")
    request_event["requestContext"]["stage"] = "prod"
    assert mapped(request_event, CONTEXT)["statusCode"] == 200


@pytest.mark.parametrize(
    ("path", "status"),
    [
        *(("/team/emb/health", 200), ("/health", 200), ("/team/emb/openapi.json", 200), ("/team/emb/v1/models", 200)),
        *(("/team/emb", 404), ("//health", 404), ("/team/emb/", 404), ("/team/embhealth", 404), ("/team/health", 404)),
    ],
)
def test_other_routes_are_found_below_the_base_path(mapped, path, status):
    assert mapped(custom_domain_event("http-api-2.0", path, "GET"), CONTEXT)["statusCode"] == status


def test_without_a_base_path_its_route_is_not_found(app):
    request_event = custom_domain_event("http-api-2.0", "/team/emb/v1/embeddings")
    assert Mangum(app, lifespan="off")(request_event, CONTEXT)["statusCode"] == 404


@pytest.fixture(scope="module")
def cors_client() -> Iterator[httpx2.Client]:
    settings = Settings(cors_origins=(ORIGIN,), auth_mode="none")
    with (
        serve(create_app(settings, Catalog.of([tiny.embedder(settings)], settings))) as url,
        httpx2.Client(base_url=url) as http,
    ):
        yield http


def test_no_origin_is_allowed_by_default(client):
    response = client.post("/v1/embeddings", content=BODY, headers={"origin": ORIGIN})
    assert "access-control-allow-origin" not in response.headers


def test_preflight_allows_the_headers_of_openais_clients(cors_client):
    request_headers = "api-key, authorization, content-type, x-stainless-lang, x-stainless-retry-count"
    headers = {
        "origin": ORIGIN,
        "access-control-request-method": "POST",
        "access-control-request-headers": request_headers,
    }
    response = cors_client.options("/v1/embeddings", headers=headers)
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == ORIGIN
    assert response.headers["x-request-id"]
    assert set(request_headers.split(", ")) <= set(response.headers["access-control-allow-headers"].split(", "))


@pytest.mark.parametrize(("body", "status"), [(BODY, 200), ("{", 400)])
def test_responses_and_errors_carry_cors_headers(cors_client, body, status):
    response = cors_client.post("/v1/embeddings", content=body, headers={"origin": ORIGIN})
    assert response.status_code == status
    assert response.headers["access-control-allow-origin"] == ORIGIN
    exposed = set(response.headers["access-control-expose-headers"].split(", "))
    assert {"x-request-id", "retry-after", "x-should-retry"} <= exposed


def test_unexpected_error_response_carries_cors_headers(cors_client, monkeypatch):
    monkeypatch.setattr("handler.embedding.embedder.l2_normalize", lambda _: 1 / 0)
    response = cors_client.post("/v1/embeddings", content=BODY, headers={"origin": ORIGIN})
    assert response.status_code == 500
    assert response.headers["access-control-allow-origin"] == ORIGIN
    assert response.headers["x-request-id"]
    assert response.json()["error"]["message"] == "Unexpected internal server error occurred"


@pytest.mark.parametrize("headers", [{}, {"origin": ORIGIN}, {"access-control-request-method": "POST"}])
def test_options_that_is_no_preflight_is_not_allowed(cors_client, headers):
    response = cors_client.options("/v1/embeddings", headers=headers)
    assert (response.status_code, response.json()["error"]["code"]) == (405, "method_not_allowed")


def test_preflight_for_another_method_is_rejected(cors_client):
    headers = {"origin": ORIGIN, "access-control-request-method": "PATCH"}
    response = cors_client.options("/v1/embeddings", headers=headers)
    assert (response.status_code, response.json()["error"]["code"]) == (400, "origin_not_allowed")


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_preflight_for_an_endpoints_method_is_allowed(cors_client, method):
    headers = {"origin": ORIGIN, "access-control-request-method": method}
    assert cors_client.options("/v1/models", headers=headers).status_code == 200


def test_rejected_preflight_has_the_plain_format():
    settings = Settings(cors_origins=(ORIGIN,), error_format="plain")
    headers = {"origin": "https://elsewhere.example", "access-control-request-method": "POST"}
    with serve(create_app(settings, Catalog.of([], settings))) as url:
        response = httpx2.options(f"{url}/v1/embeddings", headers=headers)
    assert response.headers["vary"] == "Origin"
    assert response.json() == {"error": "Web pages of this origin may not send such requests here."}


def test_other_origins_are_not_allowed(cors_client):
    response = cors_client.post("/v1/embeddings", content=BODY, headers={"origin": "https://elsewhere.example"})
    assert "access-control-allow-origin" not in response.headers
