"""Latency of single texts while a batch runs: `python -m benchmarks.batch_online`, on two cores.

It starts the service as `make run` does, and sends requests one after another, in turns while nothing else runs and
while the process beside the service runs a batch.
"""

import argparse
import json
import statistics
import tempfile
import time
from itertools import islice

import httpx2
import openai

from benchmarks.texts import Texts
from tests import process

REQUESTS = 50_000  # of a batch: more than a round takes


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=500, help="of each kind in a round")
    arguments = parser.parse_args()
    texts = list(islice(Texts(None).distinct(), REQUESTS))
    options = {"VECTOR_CACHE_MB": "0"}  # each round sends the same texts
    with tempfile.TemporaryDirectory() as folder, process.serve("", "--quiet", "--data", folder, **options) as service:
        measured: dict[str, list[list[float]]] = {"idle": [], "batch": []}
        with openai.OpenAI(base_url=f"{service.url}/v1", api_key="none") as client, httpx2.Client() as http:
            file = client.files.create(file=("in.jsonl", lines(texts)), purpose="batch")
            for number in range(-1, arguments.rounds):
                idle = latencies(http, service.url, texts, arguments.requests)
                batch = client.batches.create(input_file_id=file.id, endpoint="/v1/embeddings", completion_window="24h")
                wait(client, batch.id, "in_progress", completed=1)
                busy = latencies(http, service.url, texts, arguments.requests)
                client.batches.cancel(batch.id)
                assert wait(client, batch.id, "cancelled") < REQUESTS, "it ended too early: raise REQUESTS"
                if number >= 0:  # the first round warms up
                    measured["idle"].append(idle)
                    measured["batch"].append(busy)
                    print(
                        f"round {number + 1}: p99 {percentile(busy, 99) / percentile(idle, 99):.2f} of its idle value"
                    )
    for name, rounds in measured.items():
        values = [f"p{each} {statistics.median(percentile(one, each) for one in rounds):6.2f} ms" for each in (50, 99)]
        print(f"{name:6} {', '.join(values)}")
    for each in (50, 99):
        rates = [percentile(b, each) / percentile(a, each) for a, b in zip(*measured.values(), strict=True)]
        print(f"ratio of p{each}: {statistics.median(rates):.2f}, from {min(rates):.2f} to {max(rates):.2f}")


def lines(texts: list[str]) -> bytes:
    """Return a file of requests."""
    requests = (
        {
            "custom_id": str(number),
            "method": "POST",
            "url": "/v1/embeddings",
            "body": {"model": "text-embedding-3-small", "input": text, "encoding_format": "base64"},
        }
        for number, text in enumerate(texts)
    )
    return b"".join(json.dumps(request).encode() + b"\n" for request in requests)


def wait(client: openai.OpenAI, batch_id: str, status: str, completed: int = 0) -> int:
    """Wait until a batch has a status and so many requests are done; return how many are."""
    while True:
        batch = client.batches.retrieve(batch_id)
        done = batch.request_counts.completed if batch.request_counts else 0
        if batch.status == status and done >= completed:
            return done
        assert batch.status != "failed", batch.errors
        time.sleep(0.05)


def latencies(http: httpx2.Client, url: str, texts: list[str], count: int) -> list[float]:
    """Return the milliseconds of requests with a text each."""
    found = []
    for text in texts[:count]:
        started = time.perf_counter()
        http.post(f"{url}/v1/embeddings", json={"model": "text-embedding-3-small", "input": text}).raise_for_status()
        found.append((time.perf_counter() - started) * 1000)
    return found


def percentile(values: list[float], percent: int) -> float:
    """Return a percentile."""
    return sorted(values)[min(len(values) - 1, len(values) * percent // 100)]


if __name__ == "__main__":
    main()
