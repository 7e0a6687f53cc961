"""Faults while the service runs: the caller gets a defined response, and the next request succeeds."""

import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import httpx2
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

from handler.api.app import create_app
from handler.embedding.embedder import Embedder
from handler.embedding.pooling import HiddenStates
from handler.lambda_events import LambdaHandler
from handler.models.catalog import Catalog
from tests import emulator, process, tiny
from tests import s3 as s3_server
from tests.conftest import SETTINGS, serve
from tests.events import content, context, event
from tests.process import wait_until
from tests.s3 import S3, Relay

pytestmark = pytest.mark.emulated

MODEL = "all-MiniLM-L6-v2"
TEXT = "the food"
UNEXPECTED = "Unexpected internal server error occurred"
# Makes every write to a file fail, as on a full or read-only disk; pipes and sockets still work.
NO_DISK = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))"


@pytest.fixture(scope="module")
def s3() -> Iterator[S3]:
    with s3_server.serve() as server:
        yield server


@pytest.fixture(scope="module")
def published(s3, tmp_path_factory) -> str:
    return str(s3.publish(tmp_path_factory.mktemp("models"), tiny.artifacts()))


@pytest.fixture
def relay(s3) -> Iterator[Relay]:
    with s3_server.relay(s3) as running:
        yield running


@pytest.fixture
def record_result(record_property) -> Callable[[str, str], None]:
    """Return a function that records a fault and its effect on the caller, for `make report`."""
    return lambda fault, result: record_property("fault", f"{fault}|{result}")


def post(url: str, given: object = TEXT, model: str = "tiny") -> httpx2.Response:
    body = {"model": model, "input": given, "encoding_format": "float"}
    return httpx2.post(f"{url}/v1/embeddings", json=body, timeout=30)


def has_expected_vector(response: httpx2.Response) -> bool:
    vector = np.array(response.json()["data"][0]["embedding"], np.float32)
    return response.status_code == 200 and np.array_equal(vector, tiny.embedder().embed([TEXT]).vectors[0])


def embedding_event(count: int, model: str = MODEL) -> dict[str, Any]:
    body = {
        "model": model,
        "input": [f"{number} " + "word " * 200 for number in range(count)],
        "encoding_format": "base64",
    }
    return event("http-api-2.0", json.dumps(body))


def test_service_recovers_after_a_kill_during_a_model_download(relay, s3, published, tmp_path, record_result):
    started = threading.Event()

    def stall(exchange: s3_server.Exchange) -> None:
        started.set()
        s3_server.stall(exchange)

    relay.fault = stall
    environment = {"MODELS": published, "TOKEN_INPUT": "native", "TMPDIR": str(tmp_path), **s3.environment(relay.url)}
    with process.start(**environment) as killed:
        assert started.wait(20)
        killed.kill()
    relay.fault = None
    with process.serve(**environment) as service:
        assert has_expected_vector(post(service.url))
    assert not list(tmp_path.iterdir())
    record_result(
        "process killed during a model download", "no response; the next start loads the model, and no file remains"
    )


def test_function_recovers_after_a_kill_during_a_request(tmp_path, record_result):
    with emulator.run(None, tmp_path / "log", AUTH_MODE="none") as function:
        assert function.invoke(embedding_event(1))["statusCode"] == 200
        pid, before = function.runtime_pid, process.cpu_seconds(function.runtime_pid)
        lost: list[dict[str, Any]] = []
        caller = threading.Thread(target=lambda: lost.append(function.invoke(embedding_event(256))))
        caller.start()
        wait_until(lambda: process.cpu_seconds(pid) > before + 0.3)
        os.kill(pid, signal.SIGKILL)
        caller.join()
        assert lost[0]["errorType"] == "Runtime.ExitError"  # Lambda's own error; the gateway responds 502
        responses = [function.invoke(embedding_event(1)) for _ in range(2)]
        assert [response["statusCode"] for response in responses] == [200, 200]
        assert content(responses[0]) == content(responses[1])
    record_result(
        "process killed during a request",
        "Lambda's Runtime.ExitError; the next request starts a new process and gets 200",
    )


@pytest.mark.parametrize("source", ["image", "s3"])
def test_service_runs_without_writing_to_disk(relay, s3, published, source, record_result):
    environment = {"TMPDIR": "/nonexistent", "HOME": "/nonexistent", "TOKEN_INPUT": "native"}
    if source == "s3":
        environment |= {"MODELS": published, **s3.environment(relay.url)}
    with process.serve(NO_DISK, **environment) as service:
        assert post(service.url, ["a b c"] * 64, model="text-embedding-ada-002").status_code == 200
    record_result(f"disk full or read-only, no /tmp, model from {source}", "200, no effect")


@pytest.mark.parametrize("jump", [-1e9, -3600, 3600, 1e9])
def test_clock_jumps_have_no_effect(monkeypatch, tmp_path, jump, record_result):
    """Backoff, deadlines and durations use monotonic clocks."""
    (tmp_path / "tiny").mkdir()
    settings = replace(SETTINGS, models=("tiny",), artifacts=tmp_path)
    reports: list[object] = []
    real, started = time.time, time.monotonic()
    with serve(create_app(settings, Catalog(settings, reports.append))) as url:
        first = post(url)
        monkeypatch.setattr(time, "time", lambda: real() + jump)
        second = post(url)
        assert (first.status_code, second.status_code) == (503, 503)
        assert len(reports) <= 1 + (time.monotonic() - started) // 2  # backoff is at least two seconds
        assert 1 <= int(second.headers["retry-after"]) <= 4
        with serve(create_app(SETTINGS, Catalog.of([tiny.embedder(SETTINGS)], SETTINGS))) as second_url:
            assert has_expected_vector(post(second_url))
            assert float(post(second_url).headers["server-timing"].split("dur=")[1].split(",")[0]) < 1_000
    record_result(f"the system clock jumps by {jump:+,.0f} s", "no effect")


@pytest.fixture
def process_relay(relay: Relay, s3, monkeypatch) -> Relay:
    """Route this process's S3 requests through the relay."""
    for name, value in s3.environment(relay.url).items():
        monkeypatch.setenv(name, value)
    return relay


def test_service_recovers_after_s3_rejects_its_clock(process_relay, published, tmp_path, record_result):
    process_relay.where, process_relay.times, process_relay.fault = "", 1, s3_server.error(403, "RequestTimeTooSkewed")
    settings = replace(SETTINGS, models=(published,), artifacts=tmp_path)
    reports: list[Any] = []
    with serve(create_app(settings, Catalog(settings, reports.append))) as url:
        assert post(url).status_code == 503
        assert "RequestTimeTooSkewed" in str(reports[0])
        wait_until(lambda: post(url).status_code == 200)
        assert has_expected_vector(post(url))
    record_result("S3 rejects the clock as too skewed", "503 with retry-after, then 200 once S3 accepts requests")


def embedder_with_nan() -> Embedder:
    """Return the tiny model with NaN as the embedding of the token `z`."""
    model = onnx.load_from_string(tiny.artifacts().model[:])
    (scale,) = (each for each in model.graph.initializer if each.name == "words.scale")
    values = numpy_helper.to_array(scale).copy()
    values[tiny.WORDS.index("z")] = np.nan
    scale.CopyFrom(numpy_helper.from_array(values, "words.scale"))
    return Embedder(replace(tiny.artifacts(), model=model.SerializeToString()), SETTINGS)


def failing_embedder(error: type[BaseException]) -> Embedder:
    """Return the tiny model with a session that raises `error` for the token `z`."""
    embedder = tiny.embedder(SETTINGS)
    run = embedder._runs._session.run

    def run_or_fail(token_ids: NDArray[np.int64]) -> HiddenStates:
        if tiny.WORDS.index("z") in token_ids:
            raise error
        return run(token_ids)

    embedder._runs._session.run = run_or_fail  # type: ignore[method-assign]
    return embedder


@pytest.mark.parametrize(
    ("fault", "make"),
    [
        ("the model returns NaN", embedder_with_nan),
        ("a worker raises", lambda: failing_embedder(RuntimeError)),
        ("memory runs out while one text is embedded", lambda: failing_embedder(MemoryError)),
    ],
)
def test_text_that_breaks_inference_fails_only_its_request(fault, make: Callable[[], Embedder], caplog, record_result):
    with serve(create_app(SETTINGS, Catalog.of([make()], SETTINGS))) as url:
        for given in ("z", ["a", "z"], ["z"] * 50, ["a"] * 50 + ["z"]):
            broken = post(url, given)
            assert (broken.status_code, broken.json()["error"]["message"]) == (500, UNEXPECTED)
            assert has_expected_vector(post(url))
    lines = [each.getMessage() for each in caplog.records if each.name == "handler"]
    assert len(lines) == 4  # one for each failed request
    record_result(
        fault, "500 with the error envelope and x-should-retry: false; one log line; the next request succeeds"
    )


def test_panic_of_the_tokenizer_fails_only_its_request(caplog, record_result):
    """Rust raises a BaseException (pyo3_runtime.PanicException)."""
    embedder = Embedder(replace(tiny.artifacts(), tokenizer=tiny.panicking("encode")), SETTINGS)
    app = create_app(SETTINGS, Catalog.of([embedder], SETTINGS))
    with serve(app) as url:
        broken = post(url, "secret text")
        assert has_expected_vector(post(url, [[tiny.OPENING, *map(tiny.WORDS.index, TEXT.split()), tiny.CLOSING]]))
    assert (broken.status_code, broken.json()["error"]["message"]) == (500, UNEXPECTED)
    assert broken.headers["x-should-retry"] == "false"
    response = LambdaHandler(app)(
        event("http-api-2.0", json.dumps({"model": "tiny", "input": "secret text"})), context()
    )
    assert (response["statusCode"], content(response)["error"]["message"]) == (500, UNEXPECTED)
    lines = [each.getMessage() for each in caplog.records if each.name == "handler"]
    assert len(lines) == 2
    assert all("PanicException at " in line and "tokenization.py" in line for line in lines)
    assert "secret text" not in caplog.text
    record_result(
        "`tokenizers` panics", "500 with the error envelope and x-should-retry: false; one log line, without the text"
    )


NO_THREADS = """
import threading
def start(thread): raise RuntimeError("can't start new thread")
threading.Thread.start = start
"""


def test_service_that_cannot_start_a_thread_responds_503(record_result):
    """The first load fails while the modules are imported, before logging is configured."""
    body = json.dumps({"model": MODEL, "input": TEXT})
    code = f"""{NO_THREADS}
import json
from handler.main import lambda_handler
from tests.events import context, event
print(json.dumps(lambda_handler(event("http-api-2.0", {body!r}), context())))
"""
    command = [sys.executable, "-c", code]
    ended = subprocess.run(
        command, cwd=emulator.ROOT, env={"AUTH_MODE": "none"}, capture_output=True, text=True, timeout=30, check=True
    )
    response = json.loads(ended.stdout)
    assert (response["statusCode"], content(response)["error"]["code"]) == (503, "unavailable")
    assert "RuntimeError: can't start new thread" in ended.stderr
    record_result("no thread can be started", "503 with the error envelope and retry-after, at once; one log line")


def test_service_recovers_after_running_out_of_memory(record_result):
    with process.serve() as service:
        pid = service.process.pid
        before = post(service.url, model=MODEL).json()["data"]
        resource.prlimit(pid, resource.RLIMIT_DATA, (process.data_bytes(pid) + (4 << 20), resource.RLIM_INFINITY))
        broken = post(service.url, [f"word {number}" for number in range(1000)], model=MODEL)
        resource.prlimit(pid, resource.RLIMIT_DATA, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        assert (broken.status_code, broken.json()["error"]["message"]) == (500, UNEXPECTED)
        assert post(service.url, model=MODEL).json()["data"] == before
    record_result(
        "memory exhausted (RLIMIT_DATA) during a request", "500 with the error envelope; the next request succeeds"
    )


def test_service_that_cannot_start_responds_503_and_logs_the_cause(tmp_path, record_result):
    with emulator.run(None, tmp_path / "log", AUTH_MODE="none", MODELS="no-such-model") as function:
        response = function.invoke(embedding_event(1, "no-such-model"))
    error, metric, request_line = function.records()
    assert (response["statusCode"], content(response)["error"]["code"]) == (503, "unavailable")
    assert "does not exist" in error["message"]
    assert (metric["ModelLoadFailures"], request_line["error_code"]) == ([1], "unavailable")
    record_result(
        "the service cannot start",
        "503 with the error envelope and retry-after; the metric ModelLoadFailures and one log line",
    )
