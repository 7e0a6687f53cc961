"""The request's `output_dtype`: what it refuses, what official clients get, and what a model's description says."""

from base64 import b64decode
from collections.abc import Iterator
from typing import Any

import httpx2
import numpy as np
import openai
import pytest

from handler.api.app import create_app
from handler.models.catalog import Catalog
from tests import tiny
from tests.conftest import SETTINGS, serve

TEXTS = ["the food was good", "a b c"]
LOSS = {
    "sha256": "0" * 64,
    "queries": 2,
    "documents": 3,
    "reference": {"spearman": 0.9, "recall_at_10": 1.0},
    "spearman": {"float": {"32": 0.0, "8": 0.1}, "binary": {"32": 0.05}},
    "recall_at_10": {"float": {"32": 0.0, "8": 0.2}, "binary": {"32": 0.0}},
}


@pytest.fixture
def openai_client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        yield client


def post(client: httpx2.Client, headers: dict[str, str] | None = None, **fields: object) -> httpx2.Response:
    return client.post("/v1/embeddings", json={"model": "tiny", "input": TEXTS, **fields}, headers=headers)


@pytest.mark.parametrize("encoding_format", ["float", "base64"])
@pytest.mark.parametrize("given", [{"output_dtype": None}, {"output_dtype": "float"}])
def test_float_is_the_default_byte_for_byte(client, encoding_format, given):
    asked = post(client, encoding_format=encoding_format, **given)
    assert asked.content == post(client, encoding_format=encoding_format).content


@pytest.mark.parametrize(
    ("fields", "param", "message"),
    [
        ({"output_dtype": "int4"}, "output_dtype", "'float', 'float16', 'int8', 'uint8', 'binary' or 'ubinary'"),
        ({"output_dtype": 8}, "output_dtype", "'ubinary'"),
        ({"output_dtype": "binary", "dimensions": 12}, "dimensions", "12 is not a multiple of 8"),
    ],
)
def test_impossible_types_are_refused(client, fields, param, message):
    response = post(client, **fields)
    assert response.status_code == 400
    error = response.json()["error"]
    assert (error["param"], error["code"]) == (param, "invalid_value")
    assert message in error["message"]


def test_model_of_an_earlier_version_says_to_rebuild_it():
    embedder = tiny.embedder(SETTINGS, calibration={})
    with serve(create_app(SETTINGS, Catalog.of([embedder], SETTINGS))) as url, httpx2.Client(base_url=url) as client:
        error = post(client, output_dtype="int8").json()["error"]
        assert "rebuild it with make model" in error["message"]
        assert post(client, output_dtype="binary").status_code == 200
        assert not {"calibration", "loss"} & set(client.get("/v1/models/tiny").json())


# The official clients ask for base64 if their caller does not say which encoding, and decode it as float32. The request
# is the same as if the caller had asked for base64 and decoded it rightly.


@pytest.mark.parametrize("output_dtype", ["float16", "int8", "uint8", "binary", "ubinary"])
@pytest.mark.parametrize("options", [{}, {"encoding_format": "base64"}])
def test_openais_client_never_decodes_another_type_as_float32(openai_client, output_dtype, options):
    with pytest.raises(openai.BadRequestError, match="pass encoding_format 'float'") as raised:
        openai_client.embeddings.create(model="tiny", input=TEXTS, extra_body={"output_dtype": output_dtype}, **options)
    assert (raised.value.param, raised.value.code) == ("encoding_format", "invalid_value")


def test_openais_client_would_return_a_fourth_of_the_components(openai_client):
    headers: dict[str, Any] = {"x-stainless-lang": openai.Omit()}
    response = openai_client.embeddings.create(
        model="tiny", input=TEXTS, extra_body={"output_dtype": "int8"}, extra_headers=headers
    )
    assert len(response.data[0].embedding) == tiny.HIDDEN / 4  # this is why the service refuses it


@pytest.mark.parametrize("output_dtype", ["float16", "int8", "uint8", "binary", "ubinary"])
def test_openais_client_gets_numbers_with_an_explicit_encoding(openai_client, output_dtype):
    response = openai_client.embeddings.create(
        model="tiny", input=TEXTS, encoding_format="float", extra_body={"output_dtype": output_dtype}
    )
    expected = tiny.embedder().embed(TEXTS, output_dtype=output_dtype).vectors
    np.testing.assert_array_equal(np.array([row.embedding for row in response.data], expected.dtype), expected)


def test_openais_client_still_gets_base64_of_floats(openai_client):
    response = openai_client.embeddings.create(model="tiny", input=TEXTS, extra_body={"output_dtype": "float"})
    np.testing.assert_array_equal(
        np.array([row.embedding for row in response.data], np.float32), tiny.embedder().embed(TEXTS).vectors
    )


def test_other_clients_get_base64(client):
    rows = post(client, output_dtype="binary", encoding_format="base64").json()["data"]
    decoded = [np.frombuffer(b64decode(row["embedding"]), np.int8) for row in rows]
    np.testing.assert_array_equal(decoded, tiny.embedder().embed(TEXTS, output_dtype="binary").vectors)


def test_large_responses_of_integers_are_compressed(client):
    asked: dict[str, Any] = {"input": ["a"] * 2048, "output_dtype": "int8", "headers": {"accept-encoding": "gzip"}}
    response = post(client, **asked)
    assert response.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in post(client, **asked, encoding_format="base64").headers


def test_a_model_is_described_with_its_calibration_and_what_the_types_lose():
    embedder = tiny.embedder(SETTINGS, quality={"loss": LOSS})
    with serve(create_app(SETTINGS, Catalog.of([embedder], SETTINGS))) as url:
        described = httpx2.get(f"{url}/v1/models/tiny").json()
        (listed, *_) = httpx2.get(f"{url}/v1/models").json()["data"]
    assert described["loss"] == LOSS
    assert described["calibration"] == tiny.artifacts().manifest.calibration
    assert not {"calibration", "loss"} & set(listed)


def test_the_openapi_document_has_the_types_and_the_loss(client):
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    (types, _) = schemas["EmbeddingRequest"]["properties"]["output_dtype"]["anyOf"]
    assert types["enum"] == ["float", "float16", "int8", "uint8", "binary", "ubinary"]
    assert schemas["Model"]["properties"]["loss"]["anyOf"][0] == {"$ref": "#/components/schemas/Loss"}
    assert set(schemas["Loss"]["required"]) == set(LOSS)
