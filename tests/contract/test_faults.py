"""What breaks while the service runs: what the caller sees of it, and that the next request is right."""

import json
import os
import resource
import signal
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
from handler.models.catalog import Catalog
from tests import emulator, process, tiny
from tests import s3 as servers
from tests.conftest import SETTINGS, serve
from tests.events import content, event
from tests.process import until
from tests.s3 import S3, Relay

MODEL = "all-MiniLM-L6-v2"
TEXT = "the food"
UNEXPECTED = "Unexpected internal server error occurred"
# No file can be written, as where the disk is full or read-only; pipes and sockets can.
NO_DISK = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))"


@pytest.fixture(scope="module")
def s3() -> Iterator[S3]:
    with servers.serve() as server:
        yield server


@pytest.fixture(scope="module")
def published(s3, tmp_path_factory) -> str:
    return str(s3.publish(tmp_path_factory.mktemp("models"), tiny.artifacts()))


@pytest.fixture
def relay(s3) -> Iterator[Relay]:
    with servers.relay(s3) as made:
        yield made


@pytest.fixture
def saw(record_property) -> Callable[[str, str], None]:
    """Note a fault and what the caller saw of it, for `make report`."""
    return lambda fault, answer: record_property("fault", f"{fault}|{answer}")


def ask(url: str, given: object = TEXT, model: str = "tiny") -> httpx2.Response:
    body = {"model": model, "input": given, "encoding_format": "float"}
    return httpx2.post(f"{url}/v1/embeddings", json=body, timeout=30)


def is_right(answer: httpx2.Response) -> bool:
    vector = np.array(answer.json()["data"][0]["embedding"], np.float32)
    return answer.status_code == 200 and np.array_equal(vector, tiny.embedder().embed([TEXT]).vectors[0])


def asked(count: int, model: str = MODEL) -> dict[str, Any]:
    body = {
        "model": model,
        "input": [f"{number} " + "word " * 200 for number in range(count)],
        "encoding_format": "base64",
    }
    return event("http-api-2.0", json.dumps(body))


def test_killed_while_a_model_is_downloaded(relay, s3, published, tmp_path, saw):
    begun = threading.Event()

    def stall(exchange: servers.Exchange) -> None:
        begun.set()
        servers.stall(exchange)

    relay.fault = stall
    environment = {"MODELS": published, "TOKEN_INPUT": "native", "TMPDIR": str(tmp_path), **s3.environment(relay.url)}
    with process.start(**environment) as killed:
        assert begun.wait(20)
        killed.kill()
    relay.fault = None
    with process.serve(**environment) as service:
        assert is_right(ask(service.url))
    assert not list(tmp_path.iterdir())
    saw("killed while a model is downloaded", "nothing yet; the next start loads it whole, and nothing is left on disk")


def test_killed_during_a_request(tmp_path, saw):
    with emulator.run(None, tmp_path / "log", AUTH_MODE="none") as function:
        assert function.invoke(asked(1))["statusCode"] == 200
        runtime, before = function.runtime, process.cpu_seconds(function.runtime)
        lost: list[dict[str, Any]] = []
        caller = threading.Thread(target=lambda: lost.append(function.invoke(asked(2048))))
        caller.start()
        until(lambda: process.cpu_seconds(runtime) > before + 0.3)
        os.kill(runtime, signal.SIGKILL)
        caller.join()
        assert lost[0]["errorType"] == "Runtime.ExitError"  # Lambda's own, a 502 at the gateway
        answers = [function.invoke(asked(1)) for _ in range(2)]
        assert [answer["statusCode"] for answer in answers] == [200, 200]
        assert content(answers[0]) == content(answers[1])
    saw("the process killed during a request", "Lambda's Runtime.ExitError; the next request starts it anew and is 200")


@pytest.mark.parametrize("source", ["image", "s3"])
def test_no_byte_can_be_written_to_disk(relay, s3, published, source, saw):
    environment = {"TMPDIR": "/nonexistent", "HOME": "/nonexistent", "TOKEN_INPUT": "native"}
    if source == "s3":
        environment |= {"MODELS": published, **s3.environment(relay.url)}
    with process.serve(NO_DISK, **environment) as service:
        assert ask(service.url, ["a b c"] * 64, model="text-embedding-ada-002").status_code == 200
    saw(f"disk full or read-only, no /tmp, model from {source}", "nothing: 200")


@pytest.mark.parametrize("jump", [-1e9, -3600, 3600, 1e9])
def test_the_clock_jumps(monkeypatch, tmp_path, jump, saw):
    """Pauses between attempts, deadlines and durations run on clocks that never jump."""
    (tmp_path / "tiny").mkdir()
    settings = replace(SETTINGS, models=("tiny",), artifacts=tmp_path)
    reports: list[object] = []
    real, started = time.time, time.monotonic()
    with serve(create_app(settings, Catalog(settings, reports.append))) as url:
        first = ask(url)
        monkeypatch.setattr(time, "time", lambda: real() + jump)
        second = ask(url)
        assert (first.status_code, second.status_code) == (503, 503)
        assert len(reports) <= 1 + (time.monotonic() - started) // 2  # pauses of two seconds and more
        assert 1 <= int(second.headers["retry-after"]) <= 4
        with serve(create_app(SETTINGS, Catalog.of([tiny.embedder(SETTINGS)], SETTINGS))) as well:
            assert is_right(ask(well))
            assert float(ask(well).headers["server-timing"].split("dur=")[1].split(",")[0]) < 1_000
    saw(f"the clock jumps by {jump:+,.0f} s", "nothing")


@pytest.fixture
def led(relay, s3, monkeypatch) -> Relay:
    """Lead this process to S3 through the relay."""
    for name, value in s3.environment(relay.url).items():
        monkeypatch.setenv(name, value)
    led: Relay = relay
    return led


def test_the_clock_is_too_wrong_for_s3(led, published, tmp_path, saw):
    led.where, led.times, led.fault = "", 1, servers.error(403, "RequestTimeTooSkewed")
    settings = replace(SETTINGS, models=(published,), artifacts=tmp_path)
    reports: list[Any] = []
    with serve(create_app(settings, Catalog(settings, reports.append))) as url:
        assert ask(url).status_code == 503
        assert "RequestTimeTooSkewed" in str(reports[0])
        until(lambda: ask(url).status_code == 200)
        assert is_right(ask(url))
    saw("S3 finds the clock too wrong", "503 with retry-after, then 200 when S3 lets it in")


def not_a_number() -> Embedder:
    """Return the tiny model with a real graph, in which the token `z` is NaN."""
    model = onnx.load_from_string(tiny.artifacts().model)
    (scale,) = (each for each in model.graph.initializer if each.name == "words.scale")
    values = numpy_helper.to_array(scale).copy()
    values[tiny.WORDS.index("z")] = np.nan
    scale.CopyFrom(numpy_helper.from_array(values, "words.scale"))
    return Embedder(replace(tiny.artifacts(), model=model.SerializeToString()), SETTINGS)


def failing(error: type[BaseException]) -> Embedder:
    """Return the tiny model, whose session raises where the token `z` is."""
    embedder = tiny.embedder(SETTINGS)
    run = embedder._session.run

    def run_or_fail(token_ids: NDArray[np.int64]) -> HiddenStates:
        if tiny.WORDS.index("z") in token_ids:
            raise error
        return run(token_ids)

    embedder._session.run = run_or_fail  # type: ignore[method-assign]
    return embedder


@pytest.mark.parametrize(
    ("fault", "make"),
    [
        ("the model returns NaN", not_a_number),
        ("a worker raises", lambda: failing(RuntimeError)),
        ("memory runs out in one text", lambda: failing(MemoryError)),
    ],
)
def test_one_text_breaks_the_model(fault, make: Callable[[], Embedder], caplog, saw):
    with serve(create_app(SETTINGS, Catalog.of([make()], SETTINGS))) as url:
        for given in ("z", ["a", "z"], ["z"] * 50, ["a"] * 50 + ["z"]):
            broken = ask(url, given)
            assert (broken.status_code, broken.json()["error"]["message"]) == (500, UNEXPECTED)
            assert is_right(ask(url))
    lines = [each.getMessage() for each in caplog.records if each.name == "handler"]
    assert len(lines) == 4  # one for each
    saw(fault, "500 in the envelope, with x-should-retry: false; one line in the log; the next request is right")


def test_memory_runs_out_in_a_request(saw):
    with process.serve() as service:
        pid = service.process.pid
        before = ask(service.url, model=MODEL).json()["data"]
        resource.prlimit(pid, resource.RLIMIT_DATA, (process.data_bytes(pid) + (4 << 20), resource.RLIM_INFINITY))
        broken = ask(service.url, [f"word {number}" for number in range(1000)], model=MODEL)
        resource.prlimit(pid, resource.RLIMIT_DATA, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        assert (broken.status_code, broken.json()["error"]["message"]) == (500, UNEXPECTED)
        assert ask(service.url, model=MODEL).json()["data"] == before
    saw("no more memory (RLIMIT_DATA) in a request", "500 in the envelope; the next request is right")


def test_a_service_that_cannot_start_says_so(tmp_path, saw):
    with emulator.run(None, tmp_path / "log", AUTH_MODE="none", MODELS="no-such-model") as function:
        answer = function.invoke(asked(1, "no-such-model"))
    said, counted, line = function.records()
    assert (answer["statusCode"], content(answer)["error"]["code"]) == (503, "unavailable")
    assert "does not exist" in said["message"]
    assert (counted["ModelLoadFailures"], line["error_code"]) == ([1], "unavailable")
    saw(
        "the service cannot start",
        "503 in the envelope with retry-after; the metric ModelLoadFailures and one line of log",
    )
