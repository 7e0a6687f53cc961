"""API Gateway and function URL events, through Mangum."""

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
def test_event_gets_the_vector(app: FastAPI, kind, body):
    request_event = event(kind, body)
    response = Mangum(app, lifespan="off")(request_event, CONTEXT)
    assert response["statusCode"] == 200
    assert response["isBase64Encoded"] is False
    assert headers(response)["x-request-id"] == request_event["requestContext"]["requestId"]
    vector = np.array(content(response)["data"][0]["embedding"], np.float32)
    np.testing.assert_array_equal(vector, tiny.embedder().embed(["the food was good"]).vectors[0])


def test_request_id_defaults_to_lambdas(app: FastAPI):
    request_event = event("http-api-2.0", BODY)
    del request_event["requestContext"]["requestId"]
    assert headers(Mangum(app, lifespan="off")(request_event, CONTEXT))["x-request-id"] == "from-lambda"


def test_body_that_is_not_utf_8_gets_a_400(app: FastAPI):
    response = Mangum(app, lifespan="off")(event("http-api-2.0", b"\xff\xfe"), CONTEXT)
    assert response["statusCode"] == 400
