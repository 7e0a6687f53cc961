"""gzip over HTTP: largest responses to real clients, compressed requests, and encodings that a body may not have."""

import gzip
import json
from collections.abc import Iterator
from itertools import islice, product

import httpx2
import numpy as np
import openai
import pytest

from handler.api.app import create_app
from handler.api.compression import MIN_BYTES
from handler.api.limits import MAX_BODY_BYTES
from handler.contract.schemas import MAX_INPUTS
from handler.embedding.pooling import Vectors, l2_normalize
from handler.models.catalog import Catalog
from tests import raw_http, tiny
from tests.conftest import SETTINGS, serve

BODY = b'{"model": "tiny", "input": "a"}'
TEXTS = list(map(" ".join, islice(product("abcdefghijklmnopqrstuvwxyz", repeat=3), MAX_INPUTS)))
POOLED = np.random.default_rng(0).normal(size=(MAX_INPUTS, 384)).astype(np.float32)


@pytest.fixture(scope="module")
def expected() -> Vectors:
    return l2_normalize(POOLED)


@pytest.fixture(scope="module")
def wide_url() -> Iterator[str]:
    """Serve vectors with as many components as the bundled model's, and as many digits."""
    embedder = tiny.embedder(SETTINGS, dimensions=POOLED.shape[1])
    embedder._runs.pool = lambda sequences, **_: POOLED[: len(sequences)]  # type: ignore[method-assign]
    with serve(create_app(SETTINGS, Catalog.of([embedder], SETTINGS))) as url:
        yield url


def post(url: str, body: object, **headers: str) -> httpx2.Response:
    content = body if isinstance(body, bytes) else json.dumps(body)
    return httpx2.post(
        f"{url}/v1/embeddings",
        content=content,
        headers={name.replace("_", "-"): value for name, value in headers.items()},
    )


def test_openais_client_gets_2048_vectors_of_384_floats(wide_url, expected):
    with openai.OpenAI(base_url=f"{wide_url}/v1", api_key="none", max_retries=0) as client:
        response = client.embeddings.with_raw_response.create(model="tiny", input=TEXTS, encoding_format="float")
    assert response.headers["content-encoding"] == "gzip"
    vectors = np.array([row.embedding for row in response.parse().data], np.float32)
    np.testing.assert_array_equal(vectors, expected)


def test_client_that_accepts_gzip_gets_more_vectors_than_one_that_does_not(wide_url):
    body = {"model": "tiny", "input": TEXTS, "encoding_format": "float"}
    for accepted, status in (("gzip", 200), ("gzip;q=0", 400), ("identity", 400), ("br, *;q=0.1", 200)):
        response = post(wide_url, body, accept_encoding=accepted)
        assert response.status_code == status, accepted
        assert status == 200 or response.json()["error"]["code"] == "response_too_large"


@pytest.mark.parametrize("encoding_format", ["float", "base64"])
@pytest.mark.parametrize("inputs", [1, 10, 20, 1000])
def test_only_large_responses_of_floats_are_compressed(wide_url, inputs, encoding_format):
    body = {"model": "tiny", "input": TEXTS[:inputs], "encoding_format": encoding_format}
    plain, compressed = (post(wide_url, body, accept_encoding=accepted) for accepted in ("identity", "gzip"))
    large = encoding_format == "float" and len(plain.content) >= MIN_BYTES
    assert large == (encoding_format == "float" and inputs >= 20)
    assert compressed.headers.get("content-encoding") == ("gzip" if large else None)
    assert "content-encoding" not in plain.headers
    assert compressed.content == plain.content
    assert compressed.headers.get("vary") == plain.headers.get("vary") == ("Accept-Encoding" if large else None)
    assert int(plain.headers["content-length"]) == len(plain.content)
    assert not large or int(compressed.headers["content-length"]) < 0.5 * len(plain.content)


def test_compressed_request_gets_the_same_response(url):
    body = json.dumps({"model": "tiny", "input": ["the food", "a b c"]}).encode()
    compressed = post(url, gzip.compress(body), content_encoding="gzip")
    assert compressed.status_code == 200
    assert compressed.content == post(url, body).content


@pytest.mark.parametrize("offset", [-1, 0, 1])
def test_decompressed_body_is_limited_as_a_plain_one(url, offset):
    body = BODY + b" " * (MAX_BODY_BYTES + offset - len(BODY))
    response = post(url, gzip.compress(body), content_encoding="gzip")
    assert response.status_code == (413 if offset > 0 else 200)
    assert offset <= 0 or response.json()["error"]["code"] == "request_too_large"


@pytest.mark.parametrize("coding", ["br", "deflate", "gzip, gzip"])
def test_other_encodings_get_a_415_that_names_gzip(url, coding):
    response = post(url, gzip.compress(BODY), content_encoding=coding)
    assert (response.status_code, response.headers["accept-encoding"]) == (415, "gzip")
    assert response.json()["error"]["code"] == "unsupported_encoding"


@pytest.mark.parametrize(
    "body", [BODY, gzip.compress(BODY, mtime=0)[:-3], gzip.compress(BODY, mtime=0) * 2], ids=["plain", "cut", "twice"]
)
def test_invalid_gzip_gets_a_400(url, body):
    response = post(url, body, content_encoding="gzip")
    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_gzip")


def test_repeated_content_encoding_is_not_decompressed_twice(url):
    twice = gzip.compress(gzip.compress(BODY))
    headers = ["content-encoding: gzip", "content-encoding: gzip"]
    response = raw_http.send(url, raw_http.request("POST", "/v1/embeddings", *headers, body=twice))
    assert (response.status, json.loads(response.body)["error"]["code"]) == (400, "invalid_json")
