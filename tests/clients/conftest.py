"""Fixtures of the client tests: the service, a relay in front of it, Node, and the golden vectors."""

import base64
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
MODEL = "all-MiniLM-L6-v2"
GOLDEN = ROOT / "model_artifacts" / MODEL / "golden.json"

# The clients keep settings, caches and user IDs in a temporary home, and call loopback only: no telemetry, no price
# list, and tiktoken's vocabularies from LlamaIndex's copy, which has the file names that tiktoken's cache expects.
HOME = tempfile.TemporaryDirectory()
os.environ |= {
    "HOME": HOME.name,
    **{f"XDG_{kind}_HOME": f"{HOME.name}/{kind}" for kind in ("CACHE", "CONFIG", "DATA", "STATE")},
    "ANONYMIZED_TELEMETRY": "false",  # chromadb
    "CREWAI_DISABLE_TELEMETRY": "true",
    "HAYSTACK_TELEMETRY_ENABLED": "false",
    "LITELLM_LOCAL_MODEL_COST_MAP": "true",
    "MEM0_TELEMETRY": "false",
}
if find_spec("llama_index"):
    (CORE,) = find_spec("llama_index.core").submodule_search_locations
    os.environ["TIKTOKEN_CACHE_DIR"] = f"{CORE}/_static/tiktoken_cache"
    # NLTK refuses to read hard links, which uv makes.
    os.environ["NLTK_DATA"] = shutil.copytree(f"{CORE}/_static/nltk_cache", f"{HOME.name}/nltk_cache")


LOOPBACK = re.compile(r"localhost|127\.[\d.]+|::1|")
OUTSIDE: list[str] = []


def forbid_outside(event: str, arguments: tuple) -> None:
    """Raise an error when Python connects to a host that is not on loopback; other languages are not seen."""
    match event, arguments:
        case ("socket.getaddrinfo", (str(host), *_)) | ("socket.connect", (_, (str(host), *_))):
            if not LOOPBACK.fullmatch(host):
                OUTSIDE.append(host)
                message = f"{host} is not on loopback"
                raise OSError(message)


sys.addaudithook(forbid_outside)


@pytest.fixture(scope="session", autouse=True)
def loopback_only() -> Iterator[None]:
    """Fail if a client tried to reach a host, also in a thread that swallowed the error."""
    yield
    assert OUTSIDE == []


@contextmanager
def serve(**settings: str) -> Iterator[str]:
    """Start the service in the project's environment with these settings; yield the base URL that it prints."""
    command = [ROOT / ".venv/bin/python", "-m", "handler.local", "--port", "0", "--quiet"]
    command += ["--data", tempfile.mkdtemp(dir=HOME.name)]
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


def connection(url: str) -> HTTPConnection:
    return HTTPConnection(re.search(r"[\d.]+:\d+", url)[0])


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
    service = connection(url)
    service.request("POST", "/v1/embeddings", json.dumps({"model": MODEL, "input": texts}))
    served = json.load(service.getresponse())["data"]
    service.close()
    return Golden(
        texts=texts,
        vectors=np.array([np.frombuffer(base64.b64decode(row["embedding"]), "<f4") for row in rows]),
        served=np.array([row["embedding"] for row in served], np.float32),
    )


class Relay(ThreadingHTTPServer):
    """A proxy that records requests and responds to the first ones with the statuses `errors` and `retry-after: 1`."""

    def __init__(self, target: str) -> None:
        super().__init__(("127.0.0.1", 0), Forward)
        self.url = f"http://127.0.0.1:{self.server_port}/v1"
        self.target = target
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
            service = connection(self.server.target)
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


@contextmanager
def run_server(program: str, *arguments: str | Path, **environ: str) -> Iterator[int]:
    """Start a program of this environment on a free port; yield the port when it accepts connections, or fail."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    command = [Path(sys.executable).with_name(program), *arguments, "--port", str(port)]
    deadline = time.monotonic() + 180
    with subprocess.Popen(command, cwd=HOME.name, env=os.environ | environ, stdout=subprocess.DEVNULL) as process:
        try:
            while not accepts_connections(port):
                assert process.poll() is None, f"{program} did not start; its error is on stderr"
                assert time.monotonic() < deadline, f"{program} does not listen on port {port}"
                time.sleep(0.1)
            yield port
        finally:
            process.terminate()


def accepts_connections(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def run_node(url: str) -> Callable[..., None]:
    """Run a JavaScript test file of this folder with Node."""

    def run(file: str, **environ: str) -> None:
        command = ["node", "--test", Path(__file__).parent / file]
        environ |= {"EMBEDDINGS_URL": url, "GOLDEN": str(GOLDEN)}
        completed = subprocess.run(command, env=os.environ | environ, capture_output=True, text=True, check=False)
        if completed.returncode:
            pytest.fail(f"{file}\n{completed.stdout}{completed.stderr}", pytrace=False)

    return run
