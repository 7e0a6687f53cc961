"""The events that API Gateway sends, through Mangum."""

import json

import numpy as np
import pytest
from fastapi import FastAPI
from mangum import Mangum

from tests import tiny
from tests.events import KINDS, content, context, event, headers

CONTEXT = context()
BODY = json.dumps({"model": "tiny", "input": "the food was good", "encoding_format": "float"})


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("body", [BODY, BODY.encode()], ids=["text", "base64"])
def test_an_event_is_answered_with_the_vector(app: FastAPI, kind, body):
    asked = event(kind, body)
    answer = Mangum(app, lifespan="off")(asked, CONTEXT)
    assert answer["statusCode"] == 200
    assert answer["isBase64Encoded"] is False
    assert headers(answer)["x-request-id"] == asked["requestContext"]["requestId"]
    vector = np.array(content(answer)["data"][0]["embedding"], np.float32)
    np.testing.assert_array_equal(vector, tiny.embedder().embed(["the food was good"]).vectors[0])


def test_without_a_gateway_the_request_id_is_lambdas(app: FastAPI):
    asked = event("http-api-2.0", BODY)
    del asked["requestContext"]["requestId"]
    assert headers(Mangum(app, lifespan="off")(asked, CONTEXT))["x-request-id"] == "from-lambda"


def test_a_body_that_is_not_utf_8_is_a_400(app: FastAPI):
    answer = Mangum(app, lifespan="off")(event("http-api-2.0", b"\xff\xfe"), CONTEXT)
    assert answer["statusCode"] == 400
