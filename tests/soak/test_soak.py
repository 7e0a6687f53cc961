"""Soak tests: enough mixed requests to reveal a leak, including errors, partial and cancelled requests."""

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

from tests import emulator, process, raw_http, tiny
from tests import s3 as s3_server
from tests.events import event

CLIENTS = 8
WARM_UP = 0.3  # fraction of the requests sent before measuring starts
SLOPE_LIMIT = 2_000  # maximum memory growth in bytes per request, by linear regression over all samples
GROWTH_LIMIT = 8 << 20  # maximum memory growth in bytes after warm-up
TEXTS = ["the food was good", "a", "z z z", "the foods .", "a b c d e f g h i j k l m"]


@pytest.fixture(scope="module")
def requests(request) -> int:
    count: int = request.config.getoption("--soak")
    return count


@pytest.fixture(scope="module")
def service(tmp_path_factory) -> Iterator[process.Service]:
    """Serve the tiny model in its own process: a real model's inference time would dominate the service's.

    No vector is cached: there are few texts, and each is to be computed again.
    """
    with s3_server.serve() as s3:
        pinned = str(s3.publish(tmp_path_factory.mktemp("models"), tiny.artifacts()))
        with process.serve(MODELS=pinned, TOKEN_INPUT="native", VECTOR_CACHE_MB="0", **s3.environment()) as started:
            yield started


def body(given: object, **fields: object) -> bytes:
    return json.dumps({"model": "tiny", "input": given, **fields}).encode()


# Name, percentage, body and expected status; partial and cancelled requests get no response, hence 0.
MIX: list[tuple[str, int, bytes, int]] = [
    ("one text", 40, body(TEXTS[0], encoding_format="float"), 200),
    ("fifty texts", 20, body(TEXTS * 10, encoding_format="base64"), 200),
    ("empty text", 8, body(["a", ""]), 400),
    ("overlong text", 6, body("a " * 9_000), 400),
    ("invalid JSON", 6, b'{"model": "tiny", "inp', 400),
    ("unknown model", 6, body("a", model="unknown"), 404),
    ("oversized body", 2, b" " * (5 << 20), 413),
    ("partial request", 6, body(TEXTS * 10), 0),
    ("cancelled request", 6, body(TEXTS * 40), 0),
]


def send_planned(url: str, client: httpx2.Client, name: str, content: bytes) -> int:
    """Send one request of the mix; return its status."""
    request_bytes = raw_http.request("POST", "/v1/embeddings", body=content)
    match name:
        case "partial request":
            with raw_http.connect(url) as connection:
                connection.sendall(request_bytes[: len(request_bytes) // 2])
            return 0
        case "cancelled request":
            with raw_http.connect(url) as connection:
                connection.sendall(request_bytes)
            return 0
        case "oversized body":
            return raw_http.send(url, request_bytes).status
        case _:
            return client.post(f"{url}/v1/embeddings", content=content).status_code


def slope(samples: list[tuple[int, int]]) -> float:
    """Return the least-squares slope of (requests, bytes) samples, in bytes per request."""
    done, resident = np.array(samples, np.float64).T
    return float(np.polyfit(done, resident, 1)[0])


def test_memory_stays_flat_over_loopback(service, requests, record_property, capsys):
    pid, rng = service.process.pid, random.Random(7)
    plan = rng.choices(MIX, [weight for _, weight, _, _ in MIX], k=requests)
    response_counts: Counter[tuple[str, int]] = Counter()
    milliseconds: list[float] = []
    samples: list[tuple[int, int]] = []
    files = threads = 0
    lock, done, started = threading.Lock(), 0, time.monotonic()

    def run_one(planned: tuple[str, int, bytes, int]) -> None:
        nonlocal done, files, threads
        name, _, content, expected = planned
        sent_at = time.perf_counter()
        status = send_planned(service.url, client, name, content)
        elapsed = (time.perf_counter() - sent_at) * 1000
        with lock:
            done += 1
            assert status == expected, name
            response_counts[name, status] += 1
            if name == "one text":
                milliseconds.append(elapsed)
            if done % max(1, requests // 50) == 0 and done > WARM_UP * requests:
                samples.append((done, process.resident_bytes(pid)))
                files, threads = max(files, process.descriptors(pid)), max(threads, process.threads(pid))

    with httpx2.Client(timeout=30) as client, ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(run_one, plan))
    assert sum(response_counts.values()) == requests
    growth, per_request = samples[-1][1] - samples[0][1], slope(samples)
    process.wait_until(lambda: process.descriptors(pid) <= CLIENTS + 20)  # every connection is closed or kept alive
    p50, p99 = np.percentile(milliseconds, [50, 99])
    summary = (
        f"{requests:,} requests over loopback, {CLIENTS} concurrent, in {time.monotonic() - started:.0f} s: none lost; "
        f"one text p50 {p50:.1f} ms, p99 {p99:.1f} ms; memory {samples[-1][1] / 1e6:.0f} MB, {growth / 1e6:+.1f} MB "
        f"after warm-up, {per_request:+.0f} bytes per request; at most {files} files and {threads} threads"
    )
    record_property("load", summary)
    with capsys.disabled():
        print(f"\n  {summary}")  # noqa: T201 - the result of `make soak`
    assert growth < GROWTH_LIMIT
    assert requests < 1_000 or per_request < SLOPE_LIMIT


def test_memory_stays_flat_under_lambdas_emulator(request, requests, tmp_path, record_property, capsys):
    def embedding_event(content: bytes) -> dict[str, Any]:
        return event("http-api-2.0", content.replace(b'"tiny"', b'"all-MiniLM-L6-v2"'))

    supported = [each for each in MIX if each[3] not in {0, 413}]  # the emulator itself rejects larger events
    plan = random.Random(7).choices(supported, [weight for _, weight, _, _ in supported], k=requests // 10)
    samples: list[tuple[int, int]] = []
    milliseconds: list[float] = []
    counted: set[tuple[int, int]] = set()
    image = request.config.getoption("--image")
    with emulator.run(image, tmp_path / "log", AUTH_MODE="none", VECTOR_CACHE_MB="0") as function:
        for number, (name, _, content, expected) in enumerate(plan):
            sent_at = time.perf_counter()
            assert function.invoke(embedding_event(content))["statusCode"] == expected, name
            milliseconds.append((time.perf_counter() - sent_at) * 1000)
            if number >= WARM_UP * len(plan):
                samples.append((number, process.resident_bytes(function.runtime_pid)))
                counted.add((process.descriptors(function.runtime_pid), process.threads(function.runtime_pid)))
        lines = [line for line in function.records() if "Requests" in line]
    assert len(lines) == len(plan)
    p50, p99 = np.percentile(milliseconds, [50, 99])
    growth = samples[-1][1] - samples[0][1]
    ((files, threads),) = counted
    target = " with the image" if image else ""
    summary = (
        f"{len(plan):,} requests through Lambda's emulator{target}: {len(lines):,} log lines; p50 {p50:.1f} ms, p99 "
        f"{p99:.1f} ms; memory {samples[-1][1] / 1e6:.0f} MB, {growth / 1e6:+.1f} MB after warm-up; {files} files and "
        f"{threads} threads throughout"
    )
    record_property("load", summary)
    with capsys.disabled():
        print(f"\n  {summary}")  # noqa: T201 - as above
    assert growth < GROWTH_LIMIT


def test_concurrent_requests_get_the_same_vectors_as_sequential_ones(service):
    def vectors(given: list[str]) -> list[str]:
        response = httpx2.post(
            f"{service.url}/v1/embeddings", content=body(given, encoding_format="base64"), timeout=30
        )
        return [row["embedding"] for row in response.json()["data"]]

    alone = {text: vectors([text])[0] for text in TEXTS}
    orders = [random.Random(seed).choices(TEXTS, k=20) for seed in range(32)]
    with ThreadPoolExecutor(16) as pool:
        for given, embeddings in zip(orders, pool.map(vectors, orders), strict=True):
            assert embeddings == [alone[text] for text in given]
