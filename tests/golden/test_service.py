"""The local service in its own process, as `make run` starts it."""

import base64
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "handler.local"]


@pytest.fixture(scope="module")
def service() -> Iterator[tuple[str, subprocess.Popen[str]]]:
    process = subprocess.Popen([*COMMAND, "--port", "0"], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    try:
        yield process.stdout.readline(), process
    finally:
        process.terminate()
        try:
            process.communicate(timeout=20)
        finally:
            process.kill()


def address(line: str) -> str:
    found = re.search(r"http://[\d.:]+", line)
    assert found
    return found[0]


def test_service_prints_its_model_and_serves_the_example(service, golden, artifacts):
    line, process = service
    assert f"Serving all-MiniLM-L6-v2@sha256:{artifacts.digest}" in line
    assert "curl http://127.0.0.1:" in "".join(process.stdout.readline() for _ in range(2))
    body = {"model": "text-embedding-ada-002", "input": golden.texts[0], "encoding_format": "float"}
    response = httpx2.post(f"{address(line)}/v1/embeddings", json=body)
    assert response.headers["x-model-digest"] == f"sha256:{artifacts.digest}"
    (row,) = response.json()["data"]
    assert np.array(row["embedding"]) @ golden.vectors[0] > 0.995
    assert response.json()["usage"] == {"prompt_tokens": 12, "total_tokens": 12}


def test_largest_request_stays_within_the_memory_limit(service, golden):
    line, process = service
    body = {"model": "all-MiniLM-L6-v2", "input": (golden.texts * 10)[:2048], "encoding_format": "base64"}
    response = httpx2.post(f"{address(line)}/v1/embeddings", json=body, timeout=60)
    last = np.frombuffer(base64.b64decode(response.json()["data"][2047]["embedding"]), "<f4")
    assert last @ golden.vectors[2047 % len(golden.texts)] > 0.98
    resident = subprocess.run(["ps", "-o", "rss=", "-p", str(process.pid)], capture_output=True, text=True, check=True)
    assert int(resident.stdout) < 350_000


def test_occupied_port_error_is_one_line_with_a_remedy(service):
    port = address(service[0]).rsplit(":", 1)[1]
    failed = subprocess.run([*COMMAND, "--port", port], cwd=ROOT, capture_output=True, text=True, check=False)
    assert failed.returncode == 1
    assert re.fullmatch(
        rf"cannot listen on 127.0.0.1:{port}: .*choose another port: make run PORT=\d+\n", failed.stderr
    )


def test_command_line_prints_the_vector_of_a_text(golden):
    done = subprocess.run([*COMMAND, golden.texts[0]], cwd=ROOT, capture_output=True, text=True, check=True)
    assert np.fromstring(done.stdout[1:-2], sep=",") @ golden.vectors[0] > 0.995


def test_damaged_model_error_is_one_line_with_the_file_and_a_remedy(tmp_path):
    (tmp_path / "handler").symlink_to(ROOT / "handler")
    model = tmp_path / "model_artifacts" / "all-MiniLM-L6-v2"
    shutil.copytree(ROOT / "model_artifacts" / "all-MiniLM-L6-v2", model)
    with (model / "model.onnx").open("r+b") as file:
        file.seek(10_000_000)
        byte = file.read(1)
        file.seek(10_000_000)
        file.write(bytes([byte[0] ^ 1]))
    failed = subprocess.run([*COMMAND, "--port", "0"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert failed.returncode == 1
    assert failed.stdout == ""
    assert len(failed.stderr.splitlines()) == 1
    assert str(model / "model.onnx") in failed.stderr
    assert "rebuild it with make model" in failed.stderr
