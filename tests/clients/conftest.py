"""Fixtures of the client tests: the service, a relay in front of it, and the golden vectors."""

import base64
import json
import os
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import openai
import pytest

ROOT = Path(__file__).parents[2]
MODEL = "all-MiniLM-L6-v2"
GOLDEN = ROOT / "model_artifacts" / MODEL / "golden.json"

(LITELLM,) = find_spec("litellm").submodule_search_locations
# Only loopback is called: no telemetry, no price list, and cl100k_base from LiteLLM's copy, which has the file name
# that tiktoken's cache expects.
os.environ |= {
    "HAYSTACK_TELEMETRY_ENABLED": "false",
    "LITELLM_LOCAL_MODEL_COST_MAP": "true",
    "TIKTOKEN_CACHE_DIR": f"{LITELLM}/litellm_core_utils/tokenizers",
}


@contextmanager
def serve(**settings: str) -> Iterator[str]:
    """Start the service in the project's environment with these settings; yield the base URL that it prints."""
    command = [ROOT / ".venv/bin/python", "-m", "handler.local", "--port", "0"]
    with subprocess.Popen(command, cwd=ROOT, env=os.environ | settings, stdout=subprocess.PIPE, text=True) as process:
        try:
            found = re.search(r"http://[\d.:]+/v1", process.stdout.readline())
            assert found, "the service did not start; its error is on stderr"
            yield found[0]
        finally:
            process.terminate()


@pytest.fixture(scope="session")
def url() -> Iterator[str]:
    with serve() as address:
        yield address


@dataclass(frozen=True)
class Golden:
    """Texts, their full-precision vectors from sentence-transformers, and the service's vectors for the plain texts."""

    texts: list[str]
    vectors: np.ndarray
    served: np.ndarray

    def check(self, embeddings: list[list[float]]) -> None:
        """Check that embeddings of the first texts are close to `vectors` and bit-identical to `served`."""
        count = len(embeddings)
        vectors = np.array(embeddings, np.float32)
        cosines = np.sum(vectors * self.vectors[:count], axis=1)
        assert cosines.min() > 0.96
        assert cosines.mean() > 0.995
        np.testing.assert_array_equal(vectors, self.served[:count])


@pytest.fixture(scope="session")
def golden(url: str) -> Golden:
    rows = json.loads(GOLDEN.read_text())["data"]
    texts = [row["text"] for row in rows]
    with openai.OpenAI(base_url=url, api_key="none") as client:
        response = client.embeddings.create(model=MODEL, input=texts, encoding_format="float")
    return Golden(
        texts=texts,
        vectors=np.array([np.frombuffer(base64.b64decode(row["embedding"]), "<f4") for row in rows]),
        served=np.array([row.embedding for row in response.data], np.float32),
    )


class Relay(ThreadingHTTPServer):
    """A proxy that records requests and responds to the first ones with the statuses `errors` and `retry-after: 1`."""

    def __init__(self, target: str) -> None:
        super().__init__(("127.0.0.1", 0), Forward)
        self.url = f"http://127.0.0.1:{self.server_port}/v1"
        self.target = re.search(r"[\d.]+:\d+", target)[0]
        self.errors: list[int] = []
        self.bodies: list[dict] = []
        self.times: list[float] = []


class Forward(BaseHTTPRequestHandler):
    server: Relay

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.times.append(time.monotonic())
        self.server.bodies.append(json.loads(body))
        if self.server.errors:
            self.respond(self.server.errors.pop(0), [("retry-after", "1"), ("content-length", "0")], b"")
        else:
            service = HTTPConnection(self.server.target)
            service.request("POST", self.path, body, dict(self.headers))
            response = service.getresponse()
            self.respond(response.status, response.getheaders(), response.read())
            service.close()

    def respond(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.send_response_only(status)
        for header in headers:
            self.send_header(*header)
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def relay(url: str) -> Iterator[Relay]:
    with Relay(url) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server
        server.shutdown()
        thread.join()
