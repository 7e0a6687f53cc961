"""Mixed requests for as long as it takes to see a leak: errors, half-sent and cancelled ones among them."""

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import numpy as np
import pytest

from tests import emulator, process, tiny, wire
from tests import s3 as servers
from tests.events import event

CALLERS = 8
WARM = 0.3  # of the requests, before anything is measured
SLOPE_LIMIT = 2_000  # bytes that memory may grow by a request, by the line through all samples
GROWTH_LIMIT = 8 << 20
TEXTS = ["the food was good", "a", "z z z", "the foods .", "a b c d e f g h i j k l m"]


@pytest.fixture(scope="module")
def requests(request) -> int:
    count: int = request.config.getoption("--soak")
    return count


@pytest.fixture(scope="module")
def service(tmp_path_factory) -> Iterator[process.Service]:
    """Serve the tiny model as a process: the model's own time would hide the service's."""
    with servers.serve() as s3:
        pinned = str(s3.publish(tmp_path_factory.mktemp("models"), tiny.artifacts()))
        with process.serve(MODELS=pinned, TOKEN_INPUT="native", **s3.environment()) as started:
            yield started


def body(given: object, **fields: object) -> bytes:
    return json.dumps({"model": "tiny", "input": given, **fields}).encode()


# What is sent, how often among a hundred, and what is answered; half-sent and cancelled requests are answered nothing.
MIX: list[tuple[str, int, bytes, int]] = [
    ("one text", 40, body(TEXTS[0], encoding_format="float"), 200),
    ("fifty texts", 20, body(TEXTS * 10, encoding_format="base64"), 200),
    ("an empty text", 8, body(["a", ""]), 400),
    ("a text that is too long", 6, body("a " * 5_000), 400),
    ("no JSON", 6, b'{"model": "tiny", "inp', 400),
    ("another model", 6, body("a", model="nobody"), 404),
    ("a body that is too large", 2, b" " * (5 << 20), 413),
    ("half of a request", 6, body(TEXTS * 10), 0),
    ("an answer that nobody waits for", 6, body(TEXTS * 40), 0),
]


def send(url: str, client: httpx2.Client, name: str, content: bytes) -> int:
    """Send one request of the mix; return its status."""
    sent = wire.request("POST", "/v1/embeddings", body=content)
    match name:
        case "half of a request":
            with wire.connect(url) as connection:
                connection.sendall(sent[: len(sent) // 2])
            return 0
        case "an answer that nobody waits for":
            with wire.connect(url) as connection:
                connection.sendall(sent)
            return 0
        case "a body that is too large":
            return wire.send(url, sent).status
        case _:
            return client.post(f"{url}/v1/embeddings", content=content).status_code


def slope(samples: list[tuple[int, int]]) -> float:
    """Return the slope of the line through (requests, bytes), by least squares."""
    done, held = np.array(samples, np.float64).T
    return float(np.polyfit(done, held, 1)[0])


def test_over_loopback(service, requests, record_property, capsys):
    pid, chosen = service.process.pid, random.Random(7)
    plan = chosen.choices(MIX, [weight for _, weight, _, _ in MIX], k=requests)
    answered: Counter[tuple[str, int]] = Counter()
    milliseconds: list[float] = []
    samples: list[tuple[int, int]] = []
    files = threads = 0
    lock, done, started = threading.Lock(), 0, time.monotonic()

    def one(planned: tuple[str, int, bytes, int]) -> None:
        nonlocal done, files, threads
        name, _, content, expected = planned
        began = time.perf_counter()
        status = send(service.url, client, name, content)
        took = (time.perf_counter() - began) * 1000
        with lock:
            done += 1
            assert status == expected, name
            answered[name, status] += 1
            if name == "one text":
                milliseconds.append(took)
            if done % max(1, requests // 50) == 0 and done > WARM * requests:
                samples.append((done, process.resident_bytes(pid)))
                files, threads = max(files, process.descriptors(pid)), max(threads, process.threads(pid))

    with httpx2.Client(timeout=30) as client, ThreadPoolExecutor(CALLERS) as pool:
        list(pool.map(one, plan))
    assert sum(answered.values()) == requests
    grown, a_request = samples[-1][1] - samples[0][1], slope(samples)
    process.until(lambda: process.descriptors(pid) <= CALLERS + 20)  # every connection is gone, or kept alive
    p50, p99 = np.percentile(milliseconds, [50, 99])
    said = (
        f"{requests:,} requests over loopback, {CALLERS} at once, in {time.monotonic() - started:.0f} s: nothing lost; "
        f"one text p50 {p50:.1f} ms, p99 {p99:.1f} ms; memory {samples[-1][1] / 1e6:.0f} MB, {grown / 1e6:+.1f} MB "
        f"after warm-up, {a_request:+.0f} bytes a request; at most {files} files and {threads} threads"
    )
    record_property("load", said)
    with capsys.disabled():
        print(f"\n  {said}")  # noqa: T201 - what the verb is asked for
    assert grown < GROWTH_LIMIT
    assert requests < 1_000 or a_request < SLOPE_LIMIT


def test_through_lambdas_emulator(request, requests, tmp_path, record_property, capsys):
    def asked(content: bytes) -> dict[str, Any]:
        return event("http-api-2.0", content.replace(b'"tiny"', b'"all-MiniLM-L6-v2"'))

    fitting = [each for each in MIX if each[3] not in {0, 413}]  # the emulator refuses larger events by itself
    plan = random.Random(7).choices(fitting, [weight for _, weight, _, _ in fitting], k=requests // 10)
    samples: list[tuple[int, int]] = []
    milliseconds: list[float] = []
    counted: set[tuple[int, int]] = set()
    image = request.config.getoption("--image")
    with emulator.run(image, tmp_path / "log", AUTH_MODE="none") as function:
        for number, (name, _, content, expected) in enumerate(plan):
            began = time.perf_counter()
            assert function.invoke(asked(content))["statusCode"] == expected, name
            milliseconds.append((time.perf_counter() - began) * 1000)
            if number >= WARM * len(plan):
                samples.append((number, process.resident_bytes(function.runtime)))
                counted.add((process.descriptors(function.runtime), process.threads(function.runtime)))
        lines = [line for line in function.records() if "Requests" in line]
    assert len(lines) == len(plan)
    p50, p99 = np.percentile(milliseconds, [50, 99])
    grown = samples[-1][1] - samples[0][1]
    ((files, threads),) = counted
    around = ", around the image" if image else ""
    said = (
        f"{len(plan):,} requests through Lambda's emulator{around}: {len(lines):,} lines of log; p50 {p50:.1f} ms, p99 "
        f"{p99:.1f} ms; memory {samples[-1][1] / 1e6:.0f} MB, {grown / 1e6:+.1f} MB after warm-up; {files} files and "
        f"{threads} threads throughout"
    )
    record_property("load", said)
    with capsys.disabled():
        print(f"\n  {said}")  # noqa: T201 - as above
    assert grown < GROWTH_LIMIT


def test_many_at_once_get_the_vectors_that_each_gets_alone(service):
    def vectors(given: list[str]) -> list[str]:
        answer = httpx2.post(f"{service.url}/v1/embeddings", content=body(given, encoding_format="base64"), timeout=30)
        return [row["embedding"] for row in answer.json()["data"]]

    alone = {text: vectors([text])[0] for text in TEXTS}
    orders = [random.Random(seed).choices(TEXTS, k=20) for seed in range(32)]
    with ThreadPoolExecutor(16) as pool:
        for given, answered in zip(orders, pool.map(vectors, orders), strict=True):
            assert answered == [alone[text] for text in given]
