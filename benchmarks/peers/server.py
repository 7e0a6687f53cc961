"""Embedding servers as processes on loopback: this project's and infinity-emb's."""

import base64
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import IO

import numpy as np

from benchmarks.peers.embedder_process import OFFLINE, PASSIVE, python_of
from handler.embedding.pooling import Vectors
from model_artifacts.recipe.source import default_directory
from tests.emulator import ROOT, free_port

HOST = "127.0.0.1"
TIMEOUT_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Server:
    """A running server.

    connection  kept open between requests
    path        the path of its embeddings endpoint
    model       its name for the model
    """

    process: "subprocess.Popen[bytes]"
    connection: HTTPConnection
    path: str
    model: str

    def embed(self, texts: list[str], encoding_format: str = "base64") -> tuple[float, Vectors]:
        """Return the seconds from the request to the response's last byte, and the first text's vector."""
        body = json.dumps({"model": self.model, "input": texts, "encoding_format": encoding_format})
        started = time.perf_counter()
        self.connection.request("POST", self.path, body, {"content-type": "application/json"})
        response = self.connection.getresponse()
        content = response.read()
        seconds = time.perf_counter() - started
        assert response.status == 200, content[:500]
        first = json.loads(content)["data"][0]["embedding"]
        if encoding_format == "base64":
            return seconds, np.frombuffer(base64.b64decode(first), "<f4")
        return seconds, np.array(first, np.float32)

    def reconnect(self) -> None:
        """Open a new connection: servers close one that was idle while another server was measured."""
        self.connection.close()
        self.connection.connect()

    def peak_mb(self) -> float:
        """Return the peak resident memory of the process, in MB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.findall(r"^VmHWM:\s+(\d+)", status, re.MULTILINE)[0]) / 1024


@contextmanager
def ours() -> Iterator[Server]:
    """Serve as `make run` does."""
    port = free_port()
    command = [sys.executable, "-m", "handler.local", "--port", str(port)]
    with _running(command, port, "/v1/embeddings", "all-MiniLM-L6-v2", {"VECTOR_CACHE_MB": "0"}) as server:
        yield server


@contextmanager
def infinity(options: Sequence[str], *, passive: bool) -> Iterator[Server]:
    """Serve the same model with infinity-emb and PyTorch.

    Its defaults hold except for the options, and for BetterTransformer, which needs the package optimum.
    """
    port, folder = free_port(), default_directory()
    command = [python_of("infinity"), "-m", "infinity_emb.cli", "v2", "--model-id", str(folder), "--engine", "torch"]
    command += ["--device", "cpu", "--host", HOST, "--port", str(port), "--no-bettertransformer"]
    command += ["--served-model-name", "all-MiniLM-L6-v2", *options]
    with _running(command, port, "/embeddings", "all-MiniLM-L6-v2", PASSIVE if passive else {}) as server:
        yield server


@contextmanager
def _running(command: list[str], port: int, path: str, model: str, environment: dict[str, str]) -> Iterator[Server]:
    """Run a server until the block ends; it is yielded after its first response."""
    with (
        tempfile.TemporaryFile("w+b") as log,
        subprocess.Popen(command, cwd=ROOT, env=os.environ | OFFLINE | environment, stdout=log, stderr=log) as process,
    ):
        try:
            _wait_for(process, port, log)
            server = Server(process, HTTPConnection(HOST, port, timeout=TIMEOUT_SECONDS), path, model)
            server.embed(["The first response takes longer."])
            yield server
        finally:
            process.terminate()


def _wait_for(process: "subprocess.Popen[bytes]", port: int, log: IO[bytes]) -> None:
    """Wait until the server responds; exit with its log if it ends or TIMEOUT_SECONDS pass."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(OSError):
            connection = HTTPConnection(HOST, port, timeout=5)
            connection.request("GET", "/health")
            connection.getresponse().read()
            return
        time.sleep(0.2)
    log.seek(0)
    sys.exit(f"{process.args!r} does not respond:\n{log.read().decode()}")
