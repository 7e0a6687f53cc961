import base64
import json
import math

import numpy as np
import pytest

from handler.contract.responses import RESPONSE_LIMIT, check_fits, encode_response
from handler.errors import RequestError

VECTORS = np.array([[0.1, -1.5, 3e-8], [1 / 3, 0, 1]], np.float32)


def test_floats_are_the_shortest_that_read_back_as_the_same_float32():
    body = encode_response(VECTORS, model="m", tokens=7, encoding_format="float")
    assert b"[0.1,-1.5,3e-8]" in body
    data = json.loads(body)["data"]
    np.testing.assert_array_equal(np.array([row["embedding"] for row in data], np.float32), VECTORS)


def test_base64_is_little_endian_float32():
    data = json.loads(encode_response(VECTORS, model="m", tokens=7, encoding_format="base64"))["data"]
    decoded = [np.frombuffer(base64.b64decode(row["embedding"], validate=True), "<f4") for row in data]
    np.testing.assert_array_equal(decoded, VECTORS)


def test_the_envelope_is_openais():
    body = json.loads(encode_response(VECTORS, model="m", tokens=7, encoding_format="base64"))
    assert body["object"] == "list"
    assert body["model"] == "m"
    assert body["usage"] == {"prompt_tokens": 7, "total_tokens": 7}
    assert [(row["object"], row["index"]) for row in body["data"]] == [("embedding", 0), ("embedding", 1)]


def test_a_truncated_vector_encodes_its_own_components_only():
    view = VECTORS[:, :2]
    (first, _) = json.loads(encode_response(view, model="m", tokens=1, encoding_format="base64"))["data"]
    assert len(base64.b64decode(first["embedding"])) == 8
    assert math.isclose(np.frombuffer(base64.b64decode(first["embedding"]), "<f4")[1], -1.5)


@pytest.mark.parametrize("dimensions", [2, 384, 1024])
@pytest.mark.parametrize("encoding_format", ["float", "base64"])
def test_as_many_vectors_are_promised_as_lambda_can_return(dimensions, encoding_format):
    with pytest.raises(RequestError, match=r"\d+ fit") as refused:
        check_fits(10**6, dimensions, encoding_format)
    fitting = int(refused.value.message.split(" fit")[0].rsplit(" ", 1)[1])
    check_fits(fitting, dimensions, encoding_format)
    with pytest.raises(RequestError):
        check_fits(fitting + 1, dimensions, encoding_format)
    vectors = np.random.default_rng(0).normal(size=(fitting, dimensions)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    body = encode_response(vectors, model="m" * 100, tokens=10**9, encoding_format=encoding_format)
    response = json.dumps({"statusCode": 200, "headers": {"x": "y" * 1000}, "body": body.decode()})
    assert 0.5 * RESPONSE_LIMIT < len(response) <= RESPONSE_LIMIT
