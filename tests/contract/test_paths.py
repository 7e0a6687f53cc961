"""Base URLs as people write them, and web pages that call from elsewhere."""

from collections.abc import Iterator

import httpx2
import pytest
from mangum import Mangum

from handler.api.app import create_app
from handler.models.catalog import Catalog
from handler.settings import Settings
from tests import tiny
from tests.conftest import serve
from tests.contract.test_lambda import BODY, CONTEXT
from tests.events import event

ORIGIN = "https://example.com"


@pytest.mark.parametrize(
    "path",
    ["/v1/embeddings", "/embeddings", "/v1/v1/embeddings", "/v1/embeddings/", "/embeddings/", "//v1//embeddings"],
)
def test_every_spelling_of_the_path_is_the_route_itself(client, path):
    response = client.post(path, content=BODY, follow_redirects=False)
    assert response.status_code == 200


@pytest.mark.parametrize(
    "path", ["/models", "/v1/models/", "/v1/v1/models", "/models/tiny", "/v1/models/someone/tiny/"]
)
def test_models_too(client, path):
    assert client.get(path, follow_redirects=False).status_code == 200


@pytest.mark.parametrize("path", ["/v1", "/", "/v2/embeddings", "/v1/embeddings/extra", "/xembeddings"])
def test_other_paths_are_not_found(client, path):
    assert client.post(path, content=BODY).status_code in {404, 405}


@pytest.mark.parametrize("path", ["/prod/v1/embeddings", "/prod/embeddings"])
def test_a_named_stage_is_not_part_of_the_path(app, path):
    asked = event("http-api-2.0", BODY, path=path)
    asked["requestContext"]["stage"] = "prod"
    assert Mangum(app, lifespan="off")(asked, CONTEXT)["statusCode"] == 200


def test_a_path_that_only_begins_like_the_stage_is_left_alone(app):
    asked = event("http-api-2.0", BODY, path="/prodembeddings")
    asked["requestContext"]["stage"] = "prod"
    assert Mangum(app, lifespan="off")(asked, CONTEXT)["statusCode"] == 404


@pytest.fixture(scope="module")
def open_client() -> Iterator[httpx2.Client]:
    settings = Settings(cors_origins=(ORIGIN,), auth_mode="none")
    with (
        serve(create_app(settings, Catalog.of([tiny.embedder(settings)], settings))) as url,
        httpx2.Client(base_url=url) as http,
    ):
        yield http


def test_without_a_setting_no_origin_is_allowed(client):
    response = client.post("/v1/embeddings", content=BODY, headers={"origin": ORIGIN})
    assert "access-control-allow-origin" not in response.headers


def test_a_preflight_allows_what_openais_clients_send(open_client):
    wanted = "authorization, content-type, x-stainless-lang, x-stainless-retry-count"
    headers = {"origin": ORIGIN, "access-control-request-method": "POST", "access-control-request-headers": wanted}
    response = open_client.options("/v1/embeddings", headers=headers)
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == ORIGIN
    assert response.headers["x-request-id"]
    assert set(wanted.split(", ")) <= set(response.headers["access-control-allow-headers"].split(", "))


@pytest.mark.parametrize(("body", "status"), [(BODY, 200), ("{", 400)])
def test_real_responses_name_the_origin_errors_too(open_client, body, status):
    response = open_client.post("/v1/embeddings", content=body, headers={"origin": ORIGIN})
    assert response.status_code == status
    assert response.headers["access-control-allow-origin"] == ORIGIN
    assert "x-request-id" in response.headers["access-control-expose-headers"]


def test_even_the_500_of_a_crash_names_the_origin(open_client, monkeypatch):
    monkeypatch.setattr("handler.embedding.embedder.l2_normalize", lambda _: 1 / 0)
    response = open_client.post("/v1/embeddings", content=BODY, headers={"origin": ORIGIN})
    assert response.status_code == 500
    assert response.headers["access-control-allow-origin"] == ORIGIN
    assert response.headers["x-request-id"]
    assert response.json()["error"]["message"] == "Unexpected internal server error occurred"


def test_another_origin_is_not_allowed(open_client):
    response = open_client.post("/v1/embeddings", content=BODY, headers={"origin": "https://elsewhere.example"})
    assert "access-control-allow-origin" not in response.headers
