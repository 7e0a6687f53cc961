"""Two real models in one function: the bundled one, and the same weights at full precision (90 MB) from S3."""

import json
import time
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from model_artifacts.recipe.golden import Golden
from model_artifacts.recipe.publish import publish
from tests import s3 as s3_server
from tests.emulator import ROOT, Function, run
from tests.events import content, event, headers
from tests.s3 import BUCKET

BUNDLED = "all-MiniLM-L6-v2"
FULL = f"{BUNDLED}-float32"
FOLDER = ROOT / "build/models" / FULL


@pytest.fixture(scope="module")
def golden() -> Golden:
    return Golden.read(ROOT / "model_artifacts" / BUNDLED / "golden.json")


@pytest.fixture(scope="module")
def function(tmp_path_factory) -> Iterator[Function]:
    with s3_server.serve() as s3:
        pinned = publish(s3.client, FOLDER, BUCKET)
        log = tmp_path_factory.mktemp("function") / "log"
        models = {"MODELS": f"{BUNDLED},{pinned}", "AUTH_MODE": "none"}
        with run(None, log, **models, **s3.environment()) as running:
            yield running


def embed(function: Function, model: str, texts: list[str]) -> tuple[NDArray[np.float64], dict[str, str]]:
    body = {"model": model, "input": texts, "encoding_format": "float"}
    deadline = time.monotonic() + 90
    # Retry after a 503 like a client: this S3 server needs several seconds for 90 MB.
    while (response := function.invoke(event("http-api-2.0", json.dumps(body))))["statusCode"] == 503:
        assert time.monotonic() < deadline, function.log_lines()
        time.sleep(int(headers(response)["retry-after"]))
    assert response["statusCode"] == 200
    return np.array([item["embedding"] for item in content(response)["data"]]), headers(response)


def test_each_model_returns_its_own_vectors(function, golden):
    texts = golden.texts[:64]
    small, small_headers = embed(function, BUNDLED, texts)
    full, full_headers = embed(function, FULL, texts)
    again, _ = embed(function, BUNDLED, texts)
    assert np.sum(full * golden.vectors[:64], axis=1).min() > 0.99999
    assert 0.98 < np.sum(small * golden.vectors[:64], axis=1).min() < 0.9999
    np.testing.assert_array_equal(small, again)
    assert small_headers["x-model-digest"] != full_headers["x-model-digest"]
    assert "artifacts;" in full_headers["server-timing"]  # this request loaded it


def test_both_models_are_listed(function):
    listed = content(function.invoke(event("http-api-2.0", path="/v1/models", method="GET")))["data"]
    models = {each["id"]: each for each in listed}
    assert {BUNDLED, FULL} <= set(models)
    for model in (BUNDLED, FULL):
        assert (models[model]["dimensions"], models[model]["max_tokens"]) == (384, 256)
    assert models[FULL]["digest"] != models[BUNDLED]["digest"]
