import json
from typing import Any

import pytest
from fastapi import FastAPI
from mangum import Mangum
from mangum.types import LambdaContext, LambdaEvent
from starlette.types import Receive, Scope, Send

from handler.api.middleware import RequestLogMiddleware, ServerErrorMiddleware
from handler.lambda_events import LambdaHandler
from handler.telemetry import Telemetry
from tests.events import KINDS, content, context, event, headers

CONTEXT = context()


def modified_event(kind: str = "http-api-2.0", **changes: Any) -> dict[str, Any]:
    return event(kind, '{"model": "tiny", "input": "xyzzymarker"}') | changes


@pytest.mark.parametrize(
    "payload",
    [
        {},
        [],
        None,
        1,
        "warm up",
        {"source": "aws.events", "detail-type": "Scheduled Event", "detail": {}},
        {"Records": [{"eventSource": "aws:s3"}]},
        modified_event(requestContext=None),
        modified_event(requestContext="elb"),
        modified_event(headers=None),
        modified_event(headers={"host": None}),
        modified_event(headers={"host": "[::1]:3000"}),
        modified_event(headers={"x-forwarded-port": "xyzzymarker"}),
        modified_event(body="xyzzymarker", isBase64Encoded=True),
        modified_event(body=["xyzzymarker"]),
        modified_event(body="\ud800"),
        modified_event("rest-api-1.0", path=None),
        modified_event("rest-api-1.0", httpMethod=["POST"]),
        modified_event("rest-api-1.0", requestContext=[]),
    ],
)
def test_unsupported_events_get_an_error_envelope_and_one_log_line(app: FastAPI, capsys, payload):
    response = LambdaHandler(app, Telemetry("function", "7"))(payload, CONTEXT)
    assert response["statusCode"] in {400, 404}
    assert set(content(response)["error"]) == {"message", "type", "param", "code"}
    assert headers(response)["x-request-id"]
    out = capsys.readouterr().out
    assert "xyzzymarker" not in out + json.dumps(response)
    assert [json.loads(line)["error_code"] for line in out.splitlines()] in ([content(response)["error"]["code"]], [])


def test_unsupported_event_is_logged_with_its_status_request_id_and_duration(app: FastAPI, capsys):
    response = LambdaHandler(app, Telemetry("function", "7"))({}, CONTEXT)
    assert headers(response)["content-type"] == "application/json"
    (line,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert (line["status"], line["error_code"], line["request_id"]) == (400, "invalid_event", "from-lambda")
    assert 0 <= line["duration_ms"] < 10_000


def test_unsupported_event_without_telemetry_is_not_logged(app: FastAPI, capsys):
    assert LambdaHandler(app)({}, CONTEXT)["statusCode"] == 400
    assert capsys.readouterr().out == ""


async def raises(_: Scope, __: Receive, ___: Send) -> None:
    raise RuntimeError("xyzzymarker")


async def is_silent(_: Scope, __: Receive, ___: Send) -> None:
    return


async def stops_halfway(_: Scope, __: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    raise RuntimeError("xyzzymarker")


async def sends_a_header_that_is_no_text(_: Scope, __: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x", b"\xff")]})
    await send({"type": "http.response.body", "body": b"{}"})


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("defect", [raises, is_silent, stops_halfway, sends_a_header_that_is_no_text])
def test_defects_of_the_service_get_a_logged_500_in_the_envelope(capsys, caplog, kind, defect):
    telemetry = Telemetry("function", "7")
    app = RequestLogMiddleware(ServerErrorMiddleware(defect, "openai"), None)
    response = LambdaHandler(app, telemetry)(modified_event(kind), CONTEXT)
    assert (response["statusCode"], content(response)["error"]["code"]) == (500, "internal_error")
    assert headers(response)["x-should-retry"] == "false"
    assert headers(response)["x-request-id"] in caplog.records[0].getMessage()
    assert len(caplog.records) == 1
    assert "xyzzymarker" not in caplog.text + json.dumps(response)
    assert defect is raises or json.loads(capsys.readouterr().out)["error_code"] == "internal_error"


def test_request_that_fails_halfway_is_counted_once(capsys):
    telemetry = Telemetry("function", "7")
    app = RequestLogMiddleware(ServerErrorMiddleware(stops_halfway, "openai"), telemetry)
    assert LambdaHandler(app, telemetry)(modified_event(), CONTEXT)["statusCode"] == 500
    (line,) = capsys.readouterr().out.splitlines()
    assert (json.loads(line)["status"], json.loads(line)["Errors"]) == (500, [1])


@pytest.mark.parametrize("kind", KINDS)
def test_source_of_an_event_is_inferred_once(app: FastAPI, monkeypatch, kind):
    inferred, infer = [], Mangum.infer

    def note(self: Mangum, sent: LambdaEvent, given: LambdaContext) -> Any:
        inferred.append(sent)
        return infer(self, sent, given)

    monkeypatch.setattr(Mangum, "infer", note)
    assert LambdaHandler(app)(modified_event(kind), CONTEXT)["statusCode"] == 200
    assert len(inferred) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_response_is_that_of_mangum(app: FastAPI, kind):
    ours, mangums = (
        LambdaHandler(app)(modified_event(kind), CONTEXT),
        Mangum(app, lifespan="off")(modified_event(kind), CONTEXT),
    )
    for response in (ours, mangums):
        headers(response).pop("server-timing")
    assert ours == mangums


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("request_id", ["two\r\nx-evil: lines", "\u0663", "x" * 129, "", None, 7, ["x"], {}])
def test_request_ids_that_are_invalid_headers_are_replaced_by_lambdas(app: FastAPI, kind, request_id):
    request_event = modified_event(kind)
    request_event["requestContext"]["requestId"] = request_id
    response = LambdaHandler(app)(request_event, CONTEXT)
    assert (response["statusCode"], headers(response)["x-request-id"]) == (200, "from-lambda")


def test_path_with_a_lone_surrogate_gets_a_json_404(app: FastAPI):
    response = LambdaHandler(app)(event("http-api-2.0", path="/\ud800", method="GET"), CONTEXT)
    assert (response["statusCode"], content(response)["error"]["code"]) == (404, "not_found")


@pytest.mark.parametrize("kind", KINDS)
def test_malformed_host_header_is_ignored(app: FastAPI, kind):
    response = LambdaHandler(app)(event(kind, path="/v1/embeddings", method="GET", host="["), CONTEXT)
    assert (response["statusCode"], content(response)["error"]["code"]) == (405, "method_not_allowed")
