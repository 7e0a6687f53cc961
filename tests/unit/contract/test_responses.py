import base64
import json
import math

import numpy as np

from handler.contract.responses import encode_response

VECTORS = np.array([[0.1, -1.5, 3e-8], [1 / 3, 0, 1]], np.float32)


def test_floats_are_the_shortest_decimals_that_round_trip_to_float32():
    body = encode_response(VECTORS, model="m", tokens=7, encoding_format="float")
    assert b"[0.1,-1.5,3e-8]" in body
    data = json.loads(body)["data"]
    np.testing.assert_array_equal(np.array([row["embedding"] for row in data], np.float32), VECTORS)


def test_base64_is_little_endian_float32():
    data = json.loads(encode_response(VECTORS, model="m", tokens=7, encoding_format="base64"))["data"]
    decoded = [np.frombuffer(base64.b64decode(row["embedding"], validate=True), "<f4") for row in data]
    np.testing.assert_array_equal(decoded, VECTORS)


def test_response_has_openais_fields():
    body = json.loads(encode_response(VECTORS, model="m", tokens=7, encoding_format="base64"))
    assert body["object"] == "list"
    assert body["model"] == "m"
    assert body["usage"] == {"prompt_tokens": 7, "total_tokens": 7}
    assert [(row["object"], row["index"]) for row in body["data"]] == [("embedding", 0), ("embedding", 1)]


def test_truncated_view_encodes_only_its_own_components():
    view = VECTORS[:, :2]
    (first, _) = json.loads(encode_response(view, model="m", tokens=1, encoding_format="base64"))["data"]
    assert len(base64.b64decode(first["embedding"])) == 8
    assert math.isclose(np.frombuffer(base64.b64decode(first["embedding"]), "<f4")[1], -1.5)
