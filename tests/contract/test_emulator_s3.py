"""Models from S3 under Lambda's Runtime Interface Emulator: the working copy or, with --image, the image."""

import json
from collections.abc import Iterator
from functools import partial

import numpy as np
import pytest

from tests import s3 as s3_server
from tests import tiny
from tests.emulator import bridge_address, run
from tests.events import content, event, headers
from tests.s3 import BUCKET, S3

pytestmark = pytest.mark.emulated

BUNDLED = "all-MiniLM-L6-v2"


@pytest.fixture(scope="module")
def s3(request) -> Iterator[S3]:
    """Serve S3 on an address that the function can reach: loopback, or the host's on Docker's bridge network."""
    host = bridge_address() if request.config.getoption("--image") else "127.0.0.1"
    with s3_server.serve(host) as server:
        yield server


@pytest.fixture(scope="module")
def pinned(s3, tmp_path_factory) -> str:
    return str(s3.publish(tmp_path_factory.mktemp("models"), tiny.artifacts()))


@pytest.fixture
def start(request, tmp_path, s3):
    return partial(
        run,
        request.config.getoption("--image"),
        tmp_path / "log",
        AUTH_MODE="none",
        TOKEN_INPUT="native",
        **s3.environment(),
    )


def embedding_event(model: str) -> dict[str, object]:
    return event("http-api-2.0", json.dumps({"model": model, "input": "the food", "encoding_format": "float"}))


def test_default_model_loads_from_s3_and_the_bundled_one_when_first_requested(start, pinned):
    with start(MODELS=f"{pinned},{BUNDLED}") as function:
        first, bundled = function.invoke(embedding_event("tiny")), function.invoke(embedding_event(BUNDLED))
    assert headers(first)["x-model-digest"] == pinned.partition("@")[2]
    assert "artifacts;" in headers(first)["server-timing"]
    vector = np.array(content(first)["data"][0]["embedding"], np.float32)
    np.testing.assert_array_equal(vector, tiny.embedder().embed(["the food"]).vectors[0])
    assert len(content(bundled)["data"][0]["embedding"]) == 384
    assert function.records()[0]["ColdStarts"] == [1]


@pytest.mark.parametrize(
    ("reference", "cause"),
    [
        (f"s3://{BUCKET}/models/never", "the object does not exist; publish the model with make publish"),
        (f"s3://{BUCKET}/models/tiny@sha256:{'0' * 64}", "the object does not exist"),
        ("s3://no-such-bucket/models/tiny", "the bucket does not exist"),
    ],
)
def test_unavailable_model_gets_503_one_log_line_and_a_metric(start, pinned, reference, cause):
    assert pinned
    with start(MODELS=reference) as function:
        responses = [function.invoke(embedding_event("never")) for _ in range(2)]
        health = function.invoke(event("http-api-2.0", path="/health", method="GET"))
    assert [response["statusCode"] for response in (*responses, health)] == [503, 503, 200]
    assert 1 <= int(headers(responses[0])["retry-after"]) <= 60
    errors = [line for line in function.records() if "message" in line]
    assert cause in errors[0]["message"]
    assert reference in errors[0]["message"]
    failures = [line["ModelLoadFailures"] for line in function.records() if "ModelLoadFailures" in line]
    assert failures == [[1]] * len(errors)


def test_unavailable_second_model_does_not_affect_the_first(start):
    with start(MODELS=f"{BUNDLED},s3://{BUCKET}/models/never") as function:
        responses = [function.invoke(embedding_event(model)) for model in (BUNDLED, "never", BUNDLED)]
    assert [response["statusCode"] for response in responses] == [200, 503, 200]
