"""The official client, against the app over loopback."""

from base64 import b64decode
from collections.abc import Iterator

import numpy as np
import openai
import pytest

from tests import tiny

TEXTS = ["the food was good", "a b c", " "]


@pytest.fixture(scope="module")
def openai_client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def expected() -> np.ndarray:
    return tiny.embedder().embed(TEXTS).vectors


@pytest.mark.parametrize("options", [{}, {"encoding_format": "float"}, {"encoding_format": "base64"}])
def test_every_encoding_gives_the_same_vectors(openai_client, expected, options):
    response = openai_client.embeddings.create(model="tiny", input=TEXTS, **options)
    rows = [row.embedding for row in response.data]
    if options.get("encoding_format") == "base64":
        rows = [np.frombuffer(b64decode(row), "<f4") for row in rows]
    np.testing.assert_array_equal(np.array(rows, np.float32), expected)
    assert [row.index for row in response.data] == [0, 1, 2]
    assert response.model == "tiny"
    assert (response.usage.prompt_tokens, response.usage.total_tokens) == (13, 13)


def test_native_token_ids_give_the_vector_of_their_text(openai_client, expected):
    ids = [tiny.OPENING, *map(tiny.WORDS.index, "abc"), tiny.CLOSING]
    for given in (ids, [ids]):
        (row,) = openai_client.embeddings.create(model="tiny", input=given).data
        np.testing.assert_array_equal(np.array(row.embedding, np.float32), expected[1])


@pytest.mark.parametrize("deployment", ["tiny", "text-embedding-ada-002"])
def test_azures_client_gets_the_same_vectors(url, expected, deployment):
    for configured, model in ((None, deployment), (deployment, deployment), (deployment, "gpt-4")):
        with openai.AzureOpenAI(
            azure_endpoint=url, azure_deployment=configured, api_version="2024-10-21", api_key="none", max_retries=0
        ) as client:
            rows = client.embeddings.create(model=model, input=TEXTS).data
        np.testing.assert_array_equal(np.array([row.embedding for row in rows], np.float32), expected)


@pytest.mark.parametrize("base", ["v1/embeddings", "v1/embeddings/", "openai/v1", "openai/v1/", "", "v1/"])
def test_other_base_urls_get_the_same_vectors(url, expected, base):
    with openai.OpenAI(base_url=f"{url}/{base}", api_key="none", max_retries=0) as client:
        rows = client.embeddings.create(model="tiny", input=TEXTS).data
    np.testing.assert_array_equal(np.array([row.embedding for row in rows], np.float32), expected)


def test_dimensions_are_applied_and_validated(openai_client):
    assert len(openai_client.embeddings.create(model="tiny", input="a", dimensions=8).data[0].embedding) == 8
    with pytest.raises(openai.BadRequestError, match="not between 1 and 32") as raised:
        openai_client.embeddings.create(model="tiny", input="a", dimensions=33)
    assert raised.value.param == "dimensions"


def test_alias_resolves_to_its_model(openai_client):
    assert openai_client.embeddings.create(model="text-embedding-ada-002", input="a").model == "tiny"


def test_unknown_model_is_not_found(openai_client):
    with pytest.raises(openai.NotFoundError, match="model not found") as raised:
        openai_client.embeddings.create(model="nope", input="a")
    assert raised.value.code == "model_not_found"


def test_models_are_listed_with_their_aliases(openai_client):
    listed = {model.id: model for model in openai_client.models.list()}
    assert set(listed) == {"tiny", "someone/tiny", "text-embedding-ada-002"}
    assert any("embed" in name for name in listed)
    described = openai_client.models.retrieve("someone/tiny").model_dump()
    assert described.pop("canary")
    assert described.pop("calibration")
    assert described == listed["someone/tiny"].model_dump()
    assert (described["root"], described["dimensions"], described["max_tokens"]) == ("tiny", 32, 16)


def test_a_model_is_described_with_a_text_and_its_vector(openai_client):
    canary = openai_client.models.retrieve("tiny").model_dump()["canary"]
    vector = np.frombuffer(b64decode(canary["embedding"]), "<f4")
    np.testing.assert_array_equal(vector, tiny.embedder().embed([canary["input"]]).vectors[0])


@pytest.mark.parametrize("name", ["tiny", "someone/tiny", "text-embedding-ada-002"])
def test_a_demanded_digest_is_served_and_echoed(openai_client, name):
    digest = f"sha256:{tiny.artifacts().digest}"
    assert openai_client.models.retrieve(f"{name}@{digest}").model_dump()["digest"] == digest
    demanded = openai_client.embeddings.create(model=f"{name}@{digest}", input="a")
    assert demanded.model == f"tiny@{digest}"
    assert demanded.data == openai_client.embeddings.create(model=name, input="a").data


@pytest.mark.parametrize("digest", ["0" * 64, tiny.artifacts().digest.upper(), tiny.artifacts().digest[:12], ""])
def test_another_digest_is_refused_and_not_retried(url, digest):
    model = f"tiny@sha256:{digest}"
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none") as retrying:
        for call in (
            lambda: retrying.models.retrieve(model),
            lambda: retrying.embeddings.create(model=model, input="a"),
        ):
            with pytest.raises(openai.NotFoundError, match=tiny.artifacts().digest) as raised:
                call()
            assert (raised.value.code, raised.value.param) == ("model_mismatch", "model")


def test_a_digest_of_an_unknown_model_is_not_found(openai_client):
    with pytest.raises(openai.NotFoundError, match="'nope' is not served here") as raised:
        openai_client.embeddings.create(model=f"nope@sha256:{tiny.artifacts().digest}", input="a")
    assert raised.value.code == "model_not_found"


def test_response_headers_name_the_models_digest_and_the_timings(openai_client):
    headers = openai_client.embeddings.with_raw_response.create(model="tiny", input="a").headers
    assert headers["x-model-digest"] == f"sha256:{tiny.artifacts().digest}"
    assert headers["x-request-id"]
    assert [part.split(";")[0] for part in headers["server-timing"].split(", ")] == ["tokenize", "infer", "encode"]
