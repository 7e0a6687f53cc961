import pytest

from handler.errors import (
    STATUS,
    AuthenticationError,
    BodyTooLargeError,
    ErrorBody,
    HeadersTooLargeError,
    ModelNotFoundError,
    RequestError,
    ServiceError,
    describe,
    describe_http,
)


def test_every_request_error_has_a_status():
    assert set(STATUS) == {RequestError, *RequestError.__subclasses__()}
    assert all(issubclass(error, ServiceError) for error in STATUS)


def test_envelope_always_has_the_same_four_keys():
    body = describe(RequestError("no", param="input.3", code="empty_input")).envelope()
    assert body == {
        "error": {"message": "no", "type": "invalid_request_error", "param": "input.3", "code": "empty_input"}
    }
    assert set(describe_http(418, "GET", "/").envelope()["error"]) == {"message", "type", "param", "code"}


@pytest.mark.parametrize(
    ("kind", "arguments", "message", "param", "code"),
    [
        (ModelNotFoundError, ("x", ("a", "b")), "'x' is not served here; served: a, b", "model", "model_not_found"),
        (AuthenticationError, ("No API key.",), "No API key.", None, "invalid_api_key"),
        (BodyTooLargeError, (1024,), "more than 1,024 bytes", None, "request_too_large"),
        (HeadersTooLargeError, (1024,), "more than 1,024 bytes", None, "headers_too_large"),
    ],
)
def test_every_request_error_has_its_own_code(kind, arguments, message, param, code):
    body = describe(kind(*arguments))
    assert message in body.message
    assert (body.type, body.param, body.code) == ("invalid_request_error", param, code)


def test_plain_format_has_the_plain_message():
    assert describe(ModelNotFoundError("x", ())).encode("plain") == b'{"error":"model not found"}'
    assert describe(RequestError("no")).encode("plain") == b'{"error":"no"}'
    assert ErrorBody("no", type="server_error").encode("plain") == b'{"error":"no"}'


def test_lone_surrogate_is_escaped():
    assert b"(GET /\\ud800)" in describe_http(404, "GET", "/\ud800").encode("openai")


@pytest.mark.parametrize(
    ("status", "message"), [(404, "Invalid URL (GET /x)"), (405, "Not allowed to GET on /x"), (413, "GET /x")]
)
def test_framework_errors_name_the_method_and_the_path(status, message):
    assert message in describe_http(status, "GET", "/x").message


def test_framework_errors_have_their_status_as_code():
    body = describe_http(405, "GET", "/x")
    assert (body.type, body.param, body.code) == ("invalid_request_error", None, "method_not_allowed")
