"""The function under Lambda's Runtime Interface Emulator: the working copy or, with --image, the image."""

import base64
import gzip
import json
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial

import numpy as np
import pytest

from handler.api.keys import digest_of
from handler.api.limits import MAX_RESPONSE_BYTES
from handler.artifacts.resolver import load
from handler.embedding.embedder import Embedder
from handler.settings import Settings
from tests import process
from tests.emulator import FUNCTION, Function, run
from tests.events import KINDS, content, event, headers

pytestmark = pytest.mark.emulated

MODEL = "all-MiniLM-L6-v2"
TEXTS = ["The food was delicious and the waiter...", "Größe, 大小, размер, 🍜", "a " * 300]
KEY, MARKER = "sk-plughmarker-of-the-emulator", "xyzzymarker"
Start = Callable[..., AbstractContextManager[Function]]


@pytest.fixture(scope="module")
def start(request, tmp_path_factory) -> Start:
    return partial(run, request.config.getoption("--image"), tmp_path_factory.mktemp("emulator") / "log")


@pytest.fixture(scope="module")
def function(start: Start) -> Iterator[Function]:
    with start(AUTH_MODE="none") as running:
        yield running


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    settings = Settings()
    return Embedder(load(MODEL, settings), settings)


def body(value: object, **fields: object) -> str:
    return json.dumps({"model": MODEL, "input": value, **fields}, ensure_ascii=False)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("encode", [str, str.encode], ids=["text", "base64"])
def test_vectors_match_those_of_this_process_bit_for_bit(function, embedder, kind, encode):
    response = function.invoke(event(kind, encode(body(TEXTS, encoding_format="base64"))))
    assert response["statusCode"] == 200
    assert headers(response)["x-model-digest"] == f"sha256:{embedder.digest}"
    assert headers(response)["x-long-inputs"] == "window; count=1"
    expected = embedder.embed(TEXTS)
    vectors = [np.frombuffer(base64.b64decode(item["embedding"]), "<f4") for item in content(response)["data"]]
    np.testing.assert_array_equal(vectors, expected.vectors)
    assert content(response)["usage"]["prompt_tokens"] == expected.tokens


def test_text_that_comes_alone_gets_the_same_bits_by_several_vcpus(start, embedder):
    text = "one two three four five six seven " * 10
    with start(AUTH_MODE="none", VECTOR_CACHE_MB="0", AWS_LAMBDA_FUNCTION_MEMORY_SIZE="3538") as function:

        def vector() -> str:
            response = function.invoke(event("http-api-2.0", body(text, encoding_format="base64")))
            return str(content(response)["data"][0]["embedding"])

        first, before = vector(), process.threads(function.runtime_pid)
        process.wait_until(
            lambda: vector() == first and process.threads(function.runtime_pid) > before
        )  # the session's own
        assert [vector() for _ in range(5)] == [first] * 5
    assert np.frombuffer(base64.b64decode(first), "<f4").tobytes() == embedder.embed([text]).vectors.tobytes()


@pytest.mark.parametrize("kind", KINDS)
def test_invalid_requests_get_client_errors(function, kind):
    response = function.invoke(event(kind, body(["fine", ""])))
    assert (response["statusCode"], content(response)["error"]["param"]) == (400, "input.1")
    assert function.invoke(event(kind, b"\xff\x00\xfe"))["statusCode"] == 400
    assert function.invoke(event(kind, body("x"), method="DELETE"))["statusCode"] == 405
    assert function.invoke(event(kind, path="/nothing", method="GET"))["statusCode"] == 404
    assert function.invoke(event(kind, path="/health", method="GET"))["statusCode"] == 200


def test_largest_response_fits(function):
    response = function.invoke(event("http-api-2.0", body(["x"] * 2048, encoding_format="base64")))
    assert (response["statusCode"], len(content(response)["data"])) == (200, 2048)


def test_floats_of_more_digits_than_estimated_are_rejected_with_how_many_vectors_fit(function):
    plain = {"accept-encoding": "identity"}
    rejected = function.invoke(event("http-api-2.0", body(["suppress"] * 1313, encoding_format="float"), **plain))
    assert (rejected["statusCode"], content(rejected)["error"]["code"]) == (400, "response_too_large")
    floats, base64s = map(int, re.findall(r"(\d+)(?: fit| with)", content(rejected)["error"]["message"]))
    assert 1250 < floats < 1313
    assert base64s == 2048
    for encoding_format, inputs in (("float", floats), ("base64", base64s)):
        response = function.invoke(
            event("http-api-2.0", body(["suppress"] * inputs, encoding_format=encoding_format), **plain)
        )
        assert (response["statusCode"], len(content(response)["data"])) == (200, inputs)


@pytest.mark.parametrize("kind", ["http-api-2.0", "function-url"])
def test_compressed_request_and_largest_compressed_response(function, embedder, kind):
    texts = [f"{number} of {number * number}" for number in range(2048)]
    request = event(
        kind,
        gzip.compress(body(texts).encode()),
        **{"content-encoding": "gzip", "accept-encoding": "gzip, deflate"},
    )
    response = function.invoke(request)
    assert (response["statusCode"], response["isBase64Encoded"]) == (200, True)
    assert headers(response)["content-encoding"] == "gzip"
    assert len(json.dumps(response)) <= MAX_RESPONSE_BYTES
    vectors = np.array([item["embedding"] for item in content(response)["data"]], np.float32)
    np.testing.assert_array_equal(vectors, embedder.embed(texts).vectors)


def test_rest_api_gets_no_compressed_response(function):
    """REST APIs decode base64 only for media types that they are configured for."""
    accept = {"accept-encoding": "gzip"}
    response = function.invoke(event("rest-api-1.0", body(["x"] * 100), **accept))
    assert (response["statusCode"], response["isBase64Encoded"]) == (200, False)
    rejected = function.invoke(event("rest-api-1.0", body(["x"] * 2048), **accept))
    assert content(rejected)["error"]["code"] == "response_too_large"


def test_log_lines_are_json_and_the_first_reports_the_cold_start(start):
    with start(AUTH_MODE="none") as function:
        function.invoke(event("http-api-2.0", body("x")))
    cold, request = function.records()
    phases = ["ColdStartImport", "ColdStartArtifacts", "ColdStartSession", "ColdStartFirstRun"]
    assert cold["ColdStarts"] == [1]
    assert all(0 < cold[phase][0] < 20_000 for phase in phases)
    assert (request["Requests"], request["Tokens"], request["service"]) == ([1], [3], FUNCTION)


def test_keys_are_accepted_and_only_their_names_are_logged(start):
    with start(API_KEYS=f"alice:{digest_of(KEY)}") as function:
        allowed = function.invoke(event("http-api-2.0", body(MARKER), authorization=f"Bearer {KEY}"))
        rejected = function.invoke(event("http-api-2.0", body(MARKER), authorization=f"Bearer {KEY}x"))
        invalid = function.invoke(event("http-api-2.0", body([MARKER, ""]), authorization=f"Bearer {KEY}"))
        health = function.invoke(event("http-api-2.0", path="/health", method="GET"))
    responses = [allowed, rejected, invalid, health]
    assert [response["statusCode"] for response in responses] == [200, 401, 400, 200]
    visible = function.log_path.read_text() + json.dumps(responses)
    assert KEY not in visible
    assert MARKER not in visible
    assert [line.get("key") for line in function.records()] == [None, "alice", None, "alice", None]


def test_without_configured_keys_every_request_is_rejected(start):
    with start() as function:
        response = function.invoke(event("http-api-2.0", body("x"), authorization=f"Bearer {KEY}"))
    assert response["statusCode"] == 401
    assert "No API key is configured" in content(response)["error"]["message"]


@pytest.mark.parametrize(
    ("settings", "cause"),
    [
        ({"API_KEYS": KEY}, "API_KEYS must be comma-separated name:sha256 pairs"),
        ({"MODELS": f"{MODEL}@sha256:{'0' * 64}"}, "not the pinned one"),
        ({"MODELS": "no-such-model"}, "does not exist"),
        ({"MODELS": "no such reference"}, "which is not a reference"),
    ],
)
def test_function_that_cannot_start_responds_503_and_logs_the_cause(start, settings, cause):
    with start(AUTH_MODE="none", **settings) as function:
        responses = [function.invoke(event("http-api-2.0", body("x"))) for _ in range(2)]
    assert [response["statusCode"] for response in responses] == [503, 503]
    assert all(1 <= int(headers(response)["retry-after"]) <= 30 for response in responses)
    assert content(responses[0])["error"]["code"] == "unavailable"
    error, metric, *requests = function.records()
    assert cause in error["message"]
    assert metric["ModelLoadFailures"] == [1]
    assert [line["error_code"] for line in requests] == ["unavailable", "unavailable"]
    assert KEY not in function.log_path.read_text()
