"""The events that API Gateway sends, through Mangum."""

import base64
import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from fastapi import FastAPI
from mangum import Mangum

from tests import tiny

CONTEXT = SimpleNamespace(aws_request_id="from-lambda")
BODY = json.dumps({"model": "tiny", "input": "the food was good", "encoding_format": "float"})


def payload_2(body: str, *, encoded: bool = False) -> dict[str, Any]:
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": "/v1/embeddings",
        "rawQueryString": "",
        "headers": {"content-type": "application/json", "host": "example.execute-api.us-east-1.amazonaws.com"},
        "requestContext": {
            "http": {"method": "POST", "path": "/v1/embeddings", "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1"},
            "stage": "$default",
        },
        "body": body,
        "isBase64Encoded": encoded,
    }


def payload_1(body: str, *, encoded: bool = False) -> dict[str, Any]:
    return {
        "version": "1.0",
        "resource": "/{proxy+}",
        "path": "/v1/embeddings",
        "httpMethod": "POST",
        "headers": {"content-type": "application/json"},
        "multiValueHeaders": {"content-type": ["application/json"]},
        "queryStringParameters": None,
        "multiValueQueryStringParameters": None,
        "requestContext": {"httpMethod": "POST", "path": "/v1/embeddings", "identity": {"sourceIp": "192.0.2.1"}},
        "body": body,
        "isBase64Encoded": encoded,
    }


@pytest.mark.parametrize("event", [payload_2, payload_1])
@pytest.mark.parametrize("encoded", [False, True])
def test_an_event_is_answered_with_the_vector(app: FastAPI, event, encoded):
    body = base64.b64encode(BODY.encode()).decode() if encoded else BODY
    answer = Mangum(app, lifespan="off")(event(body, encoded=encoded), CONTEXT)
    assert answer["statusCode"] == 200
    assert answer["isBase64Encoded"] is False
    headers = answer.get("headers") or {name: values[0] for name, values in answer["multiValueHeaders"].items()}
    assert headers["x-request-id"] == "from-lambda"
    vector = np.array(json.loads(answer["body"])["data"][0]["embedding"], np.float32)
    np.testing.assert_array_equal(vector, tiny.embedder().embed(["the food was good"]).vectors[0])


def test_a_body_that_is_not_utf_8_is_a_400(app: FastAPI):
    body = base64.b64encode(b"\xff\xfe").decode()
    answer = Mangum(app, lifespan="off")(payload_2(body, encoded=True), CONTEXT)
    assert answer["statusCode"] == 400
