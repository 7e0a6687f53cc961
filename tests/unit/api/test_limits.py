import base64
import json
import math
from bisect import bisect
from functools import partial
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from starlette.types import Scope

from handler.api.app import create_app
from handler.api.compression import compress
from handler.api.limits import (
    ENVELOPE_BYTES,
    MAX_RESPONSE_BYTES,
    ROW_QUOTES,
    Output,
    check_encoded_size,
    check_response_size,
    request_deadline,
)
from handler.artifacts.manifest import MAX_NAME, OutputDtype
from handler.contract.responses import EncodingFormat, encode_response
from handler.contract.schemas import MAX_INPUTS
from handler.embedding.quantization import convert
from handler.errors import RequestError
from handler.lambda_events import LambdaHandler
from handler.models.catalog import Catalog
from handler.settings import Settings
from tests import tiny
from tests.clock import replace_clock
from tests.events import KINDS, context, event, headers


@pytest.fixture
def now(monkeypatch) -> float:
    """Freeze the clock; return its time."""
    replace_clock(monkeypatch, lambda: 1000.0, "handler.api.limits")
    return 1000.0


def test_requests_outside_lambda_have_no_deadline():
    assert request_deadline({"type": "http"}).ends == math.inf


@pytest.mark.parametrize(("kind", "seconds"), list(zip(KINDS, (28, 28, 119), strict=True)))
def test_deadline_is_the_earlier_of_the_invocations_and_the_gateways_timeout(now, kind, seconds):
    scope = {"type": "http", "aws.event": event(kind), "aws.context": context(120)}
    deadline = request_deadline(scope)
    assert (deadline.arrived, deadline.ends) == (now, now + seconds)
    assert request_deadline({**scope, "aws.context": context(5)}).ends == now + 4


@pytest.mark.parametrize("field", ["timeEpoch", "requestTimeEpoch"])
@pytest.mark.parametrize(
    ("epoch", "age"),
    [
        *((1_795_348_790_000, 10), (1_795_348_799_500, 0.5), (1_795_348_800_500, 0), (1_795_348_770_000, 0)),
        *((10**400, 0), (-(10**400), 0), ("1795348790000", 0), (1_795_348_790_000.0, 0), (None, 0)),
    ],
    ids=lambda value: str(value)[:20],
)
def test_deadline_counts_from_when_the_gateway_received_the_request(now, monkeypatch, field, epoch, age):
    monkeypatch.setattr("handler.api.limits.time.time", lambda: 1_795_348_800.0)
    scope = {"type": "http", "aws.event": {"requestContext": {field: epoch}}, "aws.context": context(120)}
    deadline = request_deadline(scope)
    assert (deadline.arrived, deadline.ends) == (now - age, now - age + 28)


NO_GZIP: Scope = {"type": "http", "headers": []}
GZIP: Scope = {"type": "http", "headers": [(b"accept-encoding", b"gzip")]}
LONGEST = np.float32("-0.0000152536395")  # no float32 in [-1, 1] has more characters
LARGE = [383, 384, 385, 767, 768, 1023, 1024, 1536, 4096]  # dimensions, of which fewer than 2048 vectors fit as floats


def fitting(rejected: RequestError) -> int:
    return int(rejected.message.split(" fit")[0].rsplit(" ", 1)[1])


def encode(vectors: NDArray[Any], encoding_format: EncodingFormat) -> bytes:
    return encode_response(vectors, model="m" * 100, tokens=10**9, encoding_format=encoding_format)


def output(vectors: NDArray[Any], encoding_format: EncodingFormat) -> Output:
    inputs, dimensions = vectors.shape
    return Output(inputs, dimensions, encoding_format)


def response_bytes(body: bytes) -> int:
    """Count what Lambda counts, with an envelope that is as large as it is assumed to be."""
    empty = {"statusCode": 200, "headers": {"x": ""}, "body": ""}
    padding = "x" * (ENVELOPE_BYTES - len(json.dumps(empty)))
    return len(json.dumps(empty | {"headers": {"x": padding}, "body": body.decode()}))


@pytest.mark.parametrize("dimensions", LARGE)
@pytest.mark.parametrize("encoding_format", ["float", "base64"])
def test_largest_accepted_response_of_typical_vectors_fits_in_lambdas_payload_limit(dimensions, encoding_format):
    with pytest.raises(RequestError, match=r"about \d+ fit") as rejected:
        check_response_size(NO_GZIP, Output(10**6, dimensions, encoding_format))
    inputs = fitting(rejected.value)
    check_response_size(NO_GZIP, Output(inputs, dimensions, encoding_format))
    with pytest.raises(RequestError):
        check_response_size(NO_GZIP, Output(inputs + 1, dimensions, encoding_format))
    vectors = np.random.default_rng(0).normal(size=(inputs, dimensions)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    body = encode(vectors, encoding_format)
    check_encoded_size(body, output(vectors, encoding_format))
    assert 0.5 * MAX_RESPONSE_BYTES < response_bytes(body) <= MAX_RESPONSE_BYTES


@pytest.mark.parametrize("dimensions", [500, 768, 1023, 1024, 1536, 4096])
def test_largest_accepted_compressed_response_of_typical_vectors_fits_in_lambdas_payload_limit(dimensions):
    with pytest.raises(RequestError, match=r"about \d+ fit") as rejected:
        check_response_size(GZIP, Output(10**6, dimensions, "float"))
    inputs = fitting(rejected.value)
    check_response_size(GZIP, Output(inputs, dimensions, "float"))
    vectors = np.random.default_rng(0).normal(size=(inputs, dimensions)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    body = compress(encode(vectors, "float"))
    check_encoded_size(body, output(vectors, "float"), compressed=True)
    assert 0.9 * MAX_RESPONSE_BYTES < len(base64.b64encode(body)) + ENVELOPE_BYTES <= MAX_RESPONSE_BYTES


@pytest.mark.parametrize("output_dtype", get_args(OutputDtype))
@pytest.mark.parametrize("encoding_format", ["float", "base64"])
@pytest.mark.parametrize("scope", [NO_GZIP, GZIP], ids=["plain", "gzip"])
def test_largest_accepted_response_of_each_output_type_fits(scope, output_dtype, encoding_format):
    dimensions = 8192  # of which fewer than 2048 vectors fit as anything but bits
    ask = partial(Output, dimensions=dimensions, encoding_format=encoding_format, output_dtype=output_dtype)
    accepted = bisect(range(1, MAX_INPUTS + 1), 0, key=lambda inputs: refused(scope, ask(inputs)))
    check_response_size(scope, asked := ask(accepted))
    vectors = np.random.default_rng(0).normal(size=(accepted, dimensions)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    body = encode(convert(vectors, output_dtype, scale=26.0), encoding_format)
    if compressed := scope is GZIP and encoding_format == "float":
        body = compress(body)
    check_encoded_size(body, asked, compressed=compressed)
    size = len(base64.b64encode(body)) + ENVELOPE_BYTES if compressed else response_bytes(body)
    assert accepted == MAX_INPUTS or size > 0.8 * MAX_RESPONSE_BYTES


def refused(scope: Scope, asked: Output) -> bool:
    try:
        check_response_size(scope, asked)
    except RequestError:
        return True
    return False


def test_response_that_is_too_large_names_the_output_type():
    with pytest.raises(RequestError, match="2048 vectors of 8192 dimensions of int8 as float are too many"):
        check_response_size(NO_GZIP, Output(2048, 8192, "float", "int8"))


def test_gzip_makes_no_difference_to_base64():
    with pytest.raises(RequestError) as rejected:
        check_response_size(GZIP, Output(10**6, 1024, "base64"))
    check_response_size(NO_GZIP, Output(fitting(rejected.value), 1024, "base64"))
    with pytest.raises(RequestError):
        check_response_size(NO_GZIP, Output(fitting(rejected.value) + 1, 1024, "base64"))


def test_compressed_response_larger_than_estimated_is_rejected_with_about_how_many_fit():
    body = b"\0" * ((MAX_RESPONSE_BYTES - ENVELOPE_BYTES) // 4 * 3)
    vectors = np.zeros((2000, 384), np.float32)
    check_encoded_size(body, output(vectors, "float"), compressed=True)
    with pytest.raises(RequestError, match=r"2000 vectors of 384 dimensions as float are too many.*: about 1999 fit"):
        check_encoded_size(body + b"\0", output(vectors, "float"), compressed=True)


@pytest.mark.parametrize("dimensions", [384, 1024])
def test_vectors_of_more_digits_than_estimated_are_rejected_with_how_many_fit(dimensions):
    with pytest.raises(RequestError) as estimated:
        check_response_size(NO_GZIP, Output(10**6, dimensions, "float"))
    vectors = np.full((fitting(estimated.value), dimensions), LONGEST)
    with pytest.raises(RequestError, match=r"bytes: \d+ fit") as rejected:
        check_encoded_size(encode(vectors, "float"), output(vectors, "float"))
    assert (rejected.value.param, rejected.value.code) == ("input", "response_too_large")
    few = vectors[: fitting(rejected.value)]
    check_encoded_size(encode(few, "float"), output(few, "float"))
    assert 0.99 * MAX_RESPONSE_BYTES < response_bytes(encode(few, "float")) <= MAX_RESPONSE_BYTES


def test_number_that_fits_is_that_of_the_longest_vectors():
    vectors = np.full((1_600, 384), LONGEST)
    vectors[:800] = 0.5
    with pytest.raises(RequestError) as rejected:
        check_encoded_size(encode(vectors, "float"), output(vectors, "float"))
    worst = np.full((fitting(rejected.value), 384), LONGEST)
    assert response_bytes(encode(worst, "float")) <= MAX_RESPONSE_BYTES


@given(
    inputs=st.integers(1_000, 1_500),
    pool=arrays(np.float32, 500, elements=st.floats(-1, 1, width=32)),
    encoding_format=st.sampled_from(["float", "base64"]),
)
@settings(max_examples=20)
def test_encoded_size_is_that_which_lambda_counts(inputs, pool, encoding_format):
    vectors = np.resize(pool, (inputs, 384))
    body = encode(vectors, encoding_format)
    try:
        check_encoded_size(body, output(vectors, encoding_format))
    except RequestError:
        assert response_bytes(body) > MAX_RESPONSE_BYTES - 2 * inputs  # a row of floats has 8 quotes, not 10
    else:
        assert response_bytes(body) <= MAX_RESPONSE_BYTES


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("letter", ["m", '"', "\u00fc"])
def test_envelope_is_no_larger_than_assumed(kind, letter):
    origin = f"https://{'o' * 253}:65535"
    settings = Settings(cors_origins=(origin,), auth_mode="none", long_input="truncate")
    embedder = tiny.embedder(settings, id=letter * MAX_NAME)
    embedder.load_timings = dict.fromkeys(["artifacts", "session", "first-run"], 1e6)
    model = f"text-embedding-ada-002@sha256:{embedder.digest}"
    asked = event(kind, json.dumps({"model": model, "input": ["a " * 100] * MAX_INPUTS}), origin=origin)
    asked["requestContext"]["requestId"] = "r" * 128
    response = LambdaHandler(create_app(settings, Catalog.of([embedder], settings)))(asked, context())
    assert {"x-long-inputs", "x-model-digest", "access-control-allow-origin"} <= set(headers(response))
    assert len(headers(response)["x-request-id"]) == 128
    assert len(json.dumps(response)) <= len(response["body"].encode()) + ROW_QUOTES * MAX_INPUTS + ENVELOPE_BYTES


def test_encoded_size_counts_every_row_and_the_envelope():
    vectors = np.zeros((3, 2), np.float32)
    body = b"[%s]" % (b"0" * (MAX_RESPONSE_BYTES - ENVELOPE_BYTES - 3 * ROW_QUOTES - 2))
    check_encoded_size(body, output(vectors, "float"))
    with pytest.raises(RequestError, match="3 vectors of 2 dimensions as float are too many"):
        check_encoded_size(body + b" ", output(vectors, "float"))
