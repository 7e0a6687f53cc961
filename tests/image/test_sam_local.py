"""Clients of `sam local start-api`."""

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx2
import numpy as np
import openai
import pytest
from numpy.typing import NDArray

from tests.emulator import ARCHITECTURE, ROOT, free_port

MODEL = "all-MiniLM-L6-v2"
TEXTS = ["The food was delicious and the waiter...", "Größe, 大小, размер, 🍜", "x"]


@pytest.fixture(scope="module")
def url(tmp_path_factory) -> Iterator[str]:
    address = f"127.0.0.1:{free_port()}"
    sam = [f"{ROOT}/tests/infra/.venv/bin/sam", "local", "start-api", "--port", address.split(":")[1]]
    if ARCHITECTURE != "x86_64":  # the template's default
        sam += ["--parameter-overrides", "AuthMode=none", f"Architecture={ARCHITECTURE}"]
    # Without AWS variables: SAM would use credentials from them to call AWS.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    environment = inherited | {"SAM_CLI_TELEMETRY": "0", "AWS_DEFAULT_REGION": "eu-central-1"}
    log = tmp_path_factory.mktemp("sam") / "log"
    with (
        log.open("wb") as output,
        subprocess.Popen(sam, cwd=ROOT, env=environment, stdout=output, stderr=output) as process,
    ):
        try:
            wait_for(f"http://{address}/health", process, log)
            yield f"http://{address}"
        finally:
            process.send_signal(signal.SIGTERM)


def wait_for(health: str, process, log, seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < deadline:
        try:
            if httpx2.get(health, timeout=30).status_code == 200:
                return
        except httpx2.TransportError:
            time.sleep(0.1)
    pytest.fail(f"sam local start-api does not respond:\n{log.read_text()}")


def test_official_client_gets_the_vectors_of_make_run_bit_for_bit(url):
    with make_run() as local_url, openai.OpenAI(base_url=local_url, api_key="none") as client:
        expected = embed(client)
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none") as client:
        np.testing.assert_array_equal(embed(client), expected)
        assert next(model.id for model in client.models.list()) == MODEL
    assert np.linalg.norm(expected, axis=1) == pytest.approx(1)


@contextmanager
def make_run() -> Iterator[str]:
    command = ["make", "--silent", "run", "PORT=0"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, process_group=0) as process:
        assert process.stdout
        found = re.search(r"http://[\d.:]+/v1", process.stdout.readline())
        try:
            assert found, "make run did not start"
            yield found[0]
        finally:
            os.killpg(process.pid, signal.SIGTERM)


def embed(client: openai.OpenAI) -> NDArray[np.float64]:
    response = client.embeddings.create(model="text-embedding-3-small", input=TEXTS)
    return np.array([item.embedding for item in response.data])


def test_curl_example_of_the_readme_works(url):
    body = json.dumps({"model": MODEL, "input": "a text"})
    response = subprocess.check_output(["curl", "--silent", f"{url}/v1/embeddings", "--data", body])
    assert len(json.loads(response)["data"][0]["embedding"]) == 384


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ('{"model": "all-MiniLM-L6-v2", "input": ""}', 400, "empty_input"),
        ('{"model": "gpt-4", "input": "x"}', 404, "model_not_found"),
        ("not json", 400, "invalid_json"),
        ("", 400, "invalid_json"),
    ],
)
def test_invalid_request_gets_a_client_error(url, body, status, code):
    response = httpx2.post(f"{url}/v1/embeddings", content=body, headers={"content-type": "application/json"})
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)


def test_unknown_paths_and_methods_get_the_error_envelope(url):
    assert httpx2.get(f"{url}/").json()["error"]["code"] == "not_found"
    assert httpx2.delete(f"{url}/v1/embeddings").json()["error"]["code"] == "method_not_allowed"
    assert httpx2.post(f"{url}/embeddings/", json={"model": MODEL, "input": "x"}).status_code == 200


def test_2048_texts_get_2048_vectors(url):
    body = {"model": MODEL, "input": ["x"] * 2048, "encoding_format": "base64"}
    assert len(httpx2.post(f"{url}/v1/embeddings", json=body, timeout=29).json()["data"]) == 2048
