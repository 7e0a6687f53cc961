import pytest

from handler.errors import STATUS, RequestError, ServiceError, describe, describe_http


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
    ("status", "message"), [(404, "Invalid URL (GET /x)"), (405, "Not allowed to GET on /x"), (413, "GET /x")]
)
def test_framework_errors_name_the_method_and_the_path(status, message):
    assert message in describe_http(status, "GET", "/x").message
