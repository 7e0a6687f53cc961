"""Effects of the settings that a client sees."""

import base64
import json
from dataclasses import replace
from unittest.mock import Mock

import httpx2
import numpy as np
import pytest

from handler.api.app import create_app
from handler.models.catalog import Catalog
from handler.settings import Settings
from handler.telemetry import Telemetry
from tests import tiny
from tests.conftest import serve

LONG = "a b c d e f g h i j k l m n o p q r s t"


def post(body: object, settings: Settings, **manifest: object) -> httpx2.Response:
    embedder = tiny.embedder(settings, **manifest)
    without_auth = replace(settings, auth_mode="none")
    with serve(create_app(without_auth, Catalog.of([embedder], settings))) as url:
        return httpx2.post(f"{url}/v1/embeddings", json=body)


def test_plain_errors_have_the_literal_bodies_of_the_api_document(monkeypatch):
    plain = Settings(error_format="plain")
    unknown = post({"model": "nope", "input": "a"}, plain)
    assert (unknown.status_code, unknown.json()) == (404, {"error": "model not found"})
    empty = post({"model": "tiny", "input": ""}, plain)
    assert (empty.status_code, empty.json()) == (400, {"error": "Invalid 'input': it is an empty string."})
    monkeypatch.setattr("handler.embedding.embedder.l2_normalize", lambda _: 1 / 0)
    broken = post({"model": "tiny", "input": "a"}, plain)
    assert (broken.status_code, broken.json()) == (500, {"error": "Unexpected internal server error occurred"})


@pytest.mark.parametrize("policy", ["truncate", "window"])
def test_header_reports_the_policy_and_the_number_of_long_inputs(policy):
    settings = Settings(long_input=policy)
    assert post({"model": "tiny", "input": [LONG, "a"]}, settings).headers["x-long-inputs"] == f"{policy}; count=1"
    assert "x-long-inputs" not in post({"model": "tiny", "input": "a"}, settings).headers


def test_a_text_that_comes_again_is_cached_and_server_timing_and_metrics_say_so(capsys):
    settings = Settings(auth_mode="none", vector_cache=1 << 20)
    with serve(create_app(settings, Catalog.of([tiny.embedder(settings)], settings), Telemetry("test", "1"))) as url:
        first, again = (httpx2.post(f"{url}/v1/embeddings", json={"model": "tiny", "input": ["a", LONG]}) for _ in "12")
    assert first.content == again.content
    assert "cache" not in first.headers["server-timing"]
    tokens = again.json()["usage"]["prompt_tokens"]
    assert again.headers["server-timing"].endswith(f', cache;desc="{tokens} tokens"')
    logged = [json.loads(line) for line in capsys.readouterr().out.splitlines() if "stage_ms" in line]
    assert [line.get("CachedTokens") for line in logged] == [None, [tokens]]


def test_a_canary_and_a_model_that_starts_are_computed(monkeypatch):
    settings = Settings(auth_mode="none", vector_cache=1 << 20)
    embedder = tiny.embedder(settings)
    embedder.warm_up()
    with serve(create_app(settings, Catalog.of([embedder], settings))) as url:
        run = Mock(wraps=embedder._runs._session.run)
        monkeypatch.setattr(embedder._runs._session, "run", run)
        for _ in range(2):
            canary = httpx2.get(f"{url}/v1/models/tiny").json()["canary"]
        assert run.call_count == 2
        body = {"model": "tiny", "input": [canary["input"], "warm"], "encoding_format": "base64"}
        response = httpx2.post(f"{url}/v1/embeddings", json=body)
    assert "cache" not in response.headers["server-timing"]
    assert response.json()["data"][0]["embedding"] == canary["embedding"]


def test_long_text_is_read_in_windows_by_default():
    response = post({"model": "tiny", "input": LONG}, Settings())
    assert response.headers["x-long-inputs"] == "window; count=1"
    assert response.json()["usage"]["prompt_tokens"] == len(LONG.split()) + 2 * 2  # two windows


def test_openai_token_ids_give_the_vector_of_their_text():
    settings = Settings()
    bodies = ({"model": "tiny", "input": given} for given in ([15339, 1917], "hello world"))
    ids, text = (post(body, settings).json()["data"][0]["embedding"] for body in bodies)
    np.testing.assert_array_equal(ids, text)


def test_token_ids_can_be_rejected():
    response = post({"model": "tiny", "input": [[15339]]}, Settings(token_input="reject"))
    assert response.status_code == 400
    assert "check_embedding_ctx_length=False" in response.json()["error"]["message"]


def test_input_type_applies_the_models_prompt():
    query = {"model": "tiny", "input": "food", "input_type": "search_query"}
    prompted = post(query, Settings(), prompts={"query": "the "}).json()["data"]
    assert prompted == post({"model": "tiny", "input": "the food"}, Settings()).json()["data"]


def test_input_type_typos_are_refused():
    for input_type, status in (("querry", 400), ("", 200), (None, 200), ("clustering", 200), (7, 400)):
        response = post({"model": "tiny", "input": "food", "input_type": input_type}, Settings())
        assert response.status_code == status, input_type
        if status == 400:
            assert response.json()["error"]["param"] == "input_type"


@pytest.mark.parametrize("name", ["tiny:query", "someone/tiny:search_query", "alias:tag:query"])
def test_prompt_may_follow_the_models_name(name):
    settings = Settings(auth_mode="none", aliases=("alias:tag",))
    embedder = tiny.embedder(settings, prompts={"query": "the "})
    digest = f"@sha256:{embedder.digest}"
    with serve(create_app(settings, Catalog.of([embedder], settings))) as url:

        def embed(model: str, text: str) -> tuple[str, object]:
            body = httpx2.post(f"{url}/v1/embeddings", json={"model": model, "input": text}).json()
            return body["model"], body["data"]

        _, expected = embed("tiny", "the food")
        asked = "tiny:" + name.rpartition(":")[2]
        assert embed(name, "food") == (asked, expected)
        assert embed(f"{name}{digest}", "food") == (f"{asked}{digest}", expected)
        listed = [each["id"] for each in httpx2.get(f"{url}/v1/models").json()["data"]]
        assert sorted(listed) == ["alias:tag", "someone/tiny", "tiny", "tiny:query"]
        canary = httpx2.get(f"{url}/v1/models/{name}").json()["canary"]
        vector = np.frombuffer(base64.b64decode(canary["embedding"]), "<f4")
        np.testing.assert_array_equal(vector, embedder.embed(["the " + canary["input"]]).vectors[0])
        for model in ("tiny:querry", "tiny:", ":query", "other:query"):
            missing = httpx2.post(f"{url}/v1/embeddings", json={"model": model, "input": "food"})
            assert (missing.status_code, missing.json()["error"]["code"]) == (404, "model_not_found")
        conflict = {"model": name, "input": "food", "input_type": "passage"}
        refused = httpx2.post(f"{url}/v1/embeddings", json=conflict).json()["error"]
        assert refused["message"].startswith("Invalid 'input_type': it is 'passage', and 'model' asks for '")


def test_response_too_large_for_lambda_is_rejected_before_inference(monkeypatch):
    def fail(*_: object) -> None:
        pytest.fail("inference ran")

    monkeypatch.setattr("handler.embedding.inference.InferenceSession.run", fail)
    body = {"model": "tiny", "input": ["a"] * 2048}
    response = post(body, Settings(), dimensions=1536)
    assert response.status_code == 400
    assert "vectors of 1536 dimensions as float" in response.json()["error"]["message"]
    assert response.json()["error"]["code"] == "response_too_large"
