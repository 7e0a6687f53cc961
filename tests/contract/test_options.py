"""What the settings change, seen from a client."""

from dataclasses import replace

import httpx2
import numpy as np
import pytest

from handler.api.app import create_app
from handler.models.catalog import Catalog
from handler.settings import Settings
from tests import tiny
from tests.conftest import serve

LONG = "a b c d e f g h i j k l m n o p q r s t"


def post(body: object, settings: Settings, **manifest: object) -> httpx2.Response:
    embedder = tiny.embedder(settings, **manifest)
    open_to_all = replace(settings, auth_mode="none")
    with serve(create_app(open_to_all, Catalog.of([embedder], settings))) as url:
        return httpx2.post(f"{url}/v1/embeddings", json=body)


def test_plain_errors_are_the_api_documents_literal_bodies(monkeypatch):
    plain = Settings(error_format="plain")
    unknown = post({"model": "nope", "input": "a"}, plain)
    assert (unknown.status_code, unknown.json()) == (404, {"error": "model not found"})
    empty = post({"model": "tiny", "input": ""}, plain)
    assert (empty.status_code, empty.json()) == (400, {"error": "Invalid 'input': it is an empty string."})
    monkeypatch.setattr("handler.embedding.embedder.l2_normalize", lambda _: 1 / 0)
    broken = post({"model": "tiny", "input": "a"}, plain)
    assert (broken.status_code, broken.json()) == (500, {"error": "Unexpected internal server error occurred"})


@pytest.mark.parametrize("policy", ["truncate", "window"])
def test_what_was_done_with_long_inputs_is_in_a_header(policy):
    settings = Settings(long_input=policy)
    assert post({"model": "tiny", "input": [LONG, "a"]}, settings).headers["x-long-inputs"] == f"{policy}; count=1"
    assert "x-long-inputs" not in post({"model": "tiny", "input": "a"}, settings).headers


def test_token_ids_of_openais_vocabulary_give_the_texts_vector():
    settings = Settings()
    bodies = ({"model": "tiny", "input": given} for given in ([15339, 1917], "hello world"))
    ids, text = (post(body, settings).json()["data"][0]["embedding"] for body in bodies)
    np.testing.assert_array_equal(ids, text)


def test_token_ids_may_be_refused():
    response = post({"model": "tiny", "input": [[15339]]}, Settings(token_input="reject"))
    assert response.status_code == 400
    assert "check_embedding_ctx_length=False" in response.json()["error"]["message"]


def test_input_type_applies_the_models_prompt():
    query = {"model": "tiny", "input": "food", "input_type": "search_query"}
    asked = post(query, Settings(), prompts={"query": "the "}).json()["data"]
    assert asked == post({"model": "tiny", "input": "the food"}, Settings()).json()["data"]


def test_a_response_that_lambda_could_not_return_is_refused_before_inference(monkeypatch):
    def never(*_: object) -> None:
        pytest.fail("inference ran")

    monkeypatch.setattr("handler.embedding.embedder.InferenceSession.run", never)
    body = {"model": "tiny", "input": ["a"] * 2048}
    response = post(body, Settings(), dimensions=1536)
    assert response.status_code == 400
    assert "vectors of 1536 dimensions as float" in response.json()["error"]["message"]
    assert response.json()["error"]["code"] == "response_too_large"
