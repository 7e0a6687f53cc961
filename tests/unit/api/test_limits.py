import json
import math

import numpy as np
import pytest

from handler.api.limits import MAX_RESPONSE_BYTES, check_response_size, request_deadline
from handler.contract.responses import encode_response
from handler.errors import RequestError
from tests.events import KINDS, context, event


@pytest.fixture
def now(monkeypatch) -> float:
    """Freeze the clock; return its time."""
    monkeypatch.setattr("handler.api.limits.time.monotonic", lambda: 1000.0)
    return 1000.0


def test_requests_outside_lambda_have_no_deadline():
    assert request_deadline({"type": "http"}).ends == math.inf


@pytest.mark.parametrize(("kind", "seconds"), list(zip(KINDS, (28, 28, 119), strict=True)))
def test_deadline_is_the_earlier_of_the_invocations_and_the_gateways_timeout(now, kind, seconds):
    scope = {"type": "http", "aws.event": event(kind), "aws.context": context(120)}
    deadline = request_deadline(scope)
    assert (deadline.arrived, deadline.ends) == (now, now + seconds)
    assert request_deadline({**scope, "aws.context": context(5)}).ends == now + 4


@pytest.mark.parametrize("dimensions", [2, 384, 1024])
@pytest.mark.parametrize("encoding_format", ["float", "base64"])
def test_largest_accepted_response_fits_in_lambdas_payload_limit(dimensions, encoding_format):
    with pytest.raises(RequestError, match=r"\d+ fit") as raised:
        check_response_size(10**6, dimensions, encoding_format)
    fitting = int(raised.value.message.split(" fit")[0].rsplit(" ", 1)[1])
    check_response_size(fitting, dimensions, encoding_format)
    with pytest.raises(RequestError):
        check_response_size(fitting + 1, dimensions, encoding_format)
    vectors = np.random.default_rng(0).normal(size=(fitting, dimensions)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    body = encode_response(vectors, model="m" * 100, tokens=10**9, encoding_format=encoding_format)
    response = json.dumps({"statusCode": 200, "headers": {"x": "y" * 1000}, "body": body.decode()})
    assert 0.5 * MAX_RESPONSE_BYTES < len(response) <= MAX_RESPONSE_BYTES
