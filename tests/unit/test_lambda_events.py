import json
from typing import Any

import pytest
from fastapi import FastAPI

from handler.lambda_events import LambdaHandler
from handler.telemetry import Telemetry
from tests.events import KINDS, content, context, event, headers

CONTEXT = context()


def broken(kind: str = "http-api-2.0", **changes: Any) -> dict[str, Any]:
    return event(kind, '{"model": "tiny", "input": "xyzzymarker"}') | changes


@pytest.mark.parametrize(
    "sent",
    [
        {},
        [],
        None,
        1,
        "warm up",
        {"source": "aws.events", "detail-type": "Scheduled Event", "detail": {}},
        {"Records": [{"eventSource": "aws:s3"}]},
        broken(requestContext=None),
        broken(requestContext="elb"),
        broken(headers=None),
        broken(headers={"host": None}),
        broken(headers={"host": "[::1]:3000"}),
        broken(headers={"x-forwarded-port": "xyzzymarker"}),
        broken(body="xyzzymarker", isBase64Encoded=True),
        broken(body=["xyzzymarker"]),
        broken(body="\ud800"),
        broken("rest-api-1.0", path=None),
        broken("rest-api-1.0", httpMethod=["POST"]),
        broken("rest-api-1.0", requestContext=[]),
    ],
    ids=repr,
)
def test_what_no_gateway_sends_is_a_400_in_the_envelope_and_one_line(app: FastAPI, capsys, sent):
    answer = LambdaHandler(app, Telemetry("function", "7"))(sent, CONTEXT)
    assert answer["statusCode"] in {400, 404}
    assert set(content(answer)["error"]) == {"message", "type", "param", "code"}
    assert headers(answer)["x-request-id"]
    out = capsys.readouterr().out
    assert "xyzzymarker" not in out + json.dumps(answer)
    assert [json.loads(line)["error_code"] for line in out.splitlines()] in ([content(answer)["error"]["code"]], [])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("request_id", ["two\r\nx-evil: lines", "\u0663", "x" * 129, "", None, 7, ["x"], {}])
def test_a_request_id_that_cannot_be_a_header_is_lambdas_instead(app: FastAPI, kind, request_id):
    asked = broken(kind)
    asked["requestContext"]["requestId"] = request_id
    answer = LambdaHandler(app)(asked, CONTEXT)
    assert (answer["statusCode"], headers(answer)["x-request-id"]) == (200, "from-lambda")


def test_half_a_surrogate_pair_in_a_path_is_told_as_json_tells_it(app: FastAPI):
    answer = LambdaHandler(app)(event("http-api-2.0", path="/\ud800", method="GET"), CONTEXT)
    assert (answer["statusCode"], content(answer)["error"]["code"]) == (404, "not_found")


@pytest.mark.parametrize("kind", KINDS)
def test_a_host_that_is_none_does_no_harm(app: FastAPI, kind):
    answer = LambdaHandler(app)(event(kind, path="/v1/embeddings", method="GET", host="["), CONTEXT)
    assert (answer["statusCode"], content(answer)["error"]["code"]) == (405, "method_not_allowed")
