"""Concurrent clients of the local server, compared with infinity-emb: each sends one sentence after the other.

python -m benchmarks.concurrent [--sts FILE] (writes concurrent.json, and the table in this folder's README.md)

Every setting of infinity-emb that is tried is measured in every round, and the one with the highest median rate counts.
"""

import argparse
import json
import select
import socket
import statistics
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from benchmarks.peers import server as servers
from benchmarks.peers.server import HOST, Server
from benchmarks.report import readme
from benchmarks.report.machine import Machine
from benchmarks.rounds import ratio
from benchmarks.service import INFINITY, OURS
from benchmarks.texts import Texts
from tests.process import cpu_seconds

RESULTS, README = Path(__file__).with_name("concurrent.json"), Path(__file__).with_name("README.md")
BEGIN = "<!-- python -m benchmarks.concurrent writes from here -->"
CLIENTS = (1, 4, 16, 64)
SETTINGS = ((), ("--batch-size", "8"), ("--batch-size", "64"), ("--dtype", "bfloat16"))
ROUNDS, SECONDS, WARM_UP_SECONDS = 5, 2.0, 0.5


@dataclass(frozen=True, slots=True)
class Load:
    """What clients measured together.

    rate          requests per second
    p50_ms        median milliseconds from a request to the last byte of its response, and the 99th percentile
    cpu_ms        milliseconds of CPU that the server took per request
    client_cpu_ms the same of the clients
    """

    rate: float
    p50_ms: float
    p99_ms: float
    cpu_ms: float
    client_cpu_ms: float


def main() -> None:
    """Measure, write the results and the table."""
    parser = argparse.ArgumentParser(description="Measure concurrent clients, compared with infinity-emb.")
    parser.add_argument("--sts", type=Path, metavar="FILE", help="the STS-B dev split (.tsv.gz)")
    texts = Texts(parser.parse_args().sts)
    results = {"machine": asdict(Machine.here()), "texts": texts.origin, "clients": report(measure(texts))}
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    readme.replace(BEGIN, table(results), README)
    print(table(results))


def measure(texts: Texts) -> dict[int, dict[str, list[Load]]]:
    """Return what was measured in each round, by number of clients and server."""
    sentences = texts.distinct()
    with ExitStack() as stack:
        running = {OURS: stack.enter_context(servers.ours())}
        for options in SETTINGS:
            for passive in (False, True):
                name = " ".join([INFINITY, *options, *(["(passive)"] if passive else [])])
                running[name] = stack.enter_context(servers.infinity(options, passive=passive))
        measured: dict[int, dict[str, list[Load]]] = {count: {name: [] for name in running} for count in CLIENTS}
        for index in range(ROUNDS):
            for count, by_server in measured.items():
                for name, server in running.items():
                    if index == 0:
                        load(server, sentences, count, WARM_UP_SECONDS)
                    by_server[name].append(load(server, sentences, count, SECONDS))
    return measured


def load(server: Server, sentences: Iterator[str], clients: int, seconds: float) -> Load:
    """Have clients send requests over connections that are kept open; a client sends the next when it has the last."""
    port = server.connection.port
    connections = [socket.create_connection((HOST, port)) for _ in range(clients)]
    waiting = {each.fileno(): each for each in connections}
    received, sent_at, latencies = dict.fromkeys(waiting, b""), dict.fromkeys(waiting, 0.0), list[float]()
    poll = select.epoll()
    cpu, own_cpu, started = cpu_seconds(server.process.pid), time.process_time(), time.perf_counter()

    def send(number: int) -> None:
        sent_at[number] = time.perf_counter()
        waiting[number].sendall(_request(server, next(sentences)))

    for number in waiting:
        poll.register(number, select.EPOLLIN)
        send(number)
    while waiting:
        for number, _ in poll.poll():
            received[number] += waiting[number].recv(1 << 16)
            if _is_complete(received[number]):
                now, received[number] = time.perf_counter(), b""
                latencies.append(now - sent_at[number])
                if now < started + seconds:
                    send(number)
                else:
                    del waiting[number]
    elapsed = time.perf_counter() - started
    own_cpu, cpu = time.process_time() - own_cpu, cpu_seconds(server.process.pid) - cpu
    for each in connections:
        each.close()
    percentiles = statistics.quantiles(latencies, n=100)
    milliseconds = 1000 / len(latencies)
    return Load(
        len(latencies) / elapsed,
        percentiles[49] * 1000,
        percentiles[98] * 1000,
        cpu * milliseconds,
        own_cpu * milliseconds,
    )


def _request(server: Server, text: str) -> bytes:
    body = json.dumps({"model": server.model, "input": text, "encoding_format": "base64"}).encode()
    head = f"POST {server.path} HTTP/1.1\r\nhost: {HOST}\r\ncontent-type: application/json\r\ncontent-length: "
    return f"{head}{len(body)}\r\n\r\n".encode() + body


def _is_complete(response: bytes) -> bool:
    """Return whether all of a response has arrived; it must be a success with a Content-Length."""
    head, end, body = response.partition(b"\r\n\r\n")
    if not end:
        assert response, "the server closed a connection"
        return False
    assert head.startswith(b"HTTP/1.1 200 "), response[:500]
    length = head.lower().partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0]
    return len(body) >= int(length)


def report(measured: Mapping[int, Mapping[str, list[Load]]]) -> list[dict[str, Any]]:
    """Return our medians and those of the best setting of infinity-emb, and the ratio of the rates, by clients."""
    rows = []
    for clients, by_server in measured.items():
        rates = {name: [each.rate for each in loads] for name, loads in by_server.items()}
        best = max((name for name in by_server if name != OURS), key=lambda name: statistics.median(rates[name]))
        ours, theirs = _medians(by_server[OURS]), _medians(by_server[best])
        compared = round(ratio(rates[OURS], rates[best]), 2)
        rows.append({"clients": clients, "ours": ours, "best": best, "theirs": theirs, "ratio": compared})
    return rows


def _medians(loads: list[Load]) -> dict[str, float]:
    names = [field.name for field in fields(Load)]
    return {name: float(f"{statistics.median(getattr(each, name) for each in loads):.3g}") for name in names}


def table(results: Mapping[str, Any]) -> str:
    """Return the results as Markdown."""
    lines = [
        "| clients | requests per second | infinity-emb | ratio | p50, ms | p99, ms | CPU per request, ms | setting |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in results["clients"]:
        ours, theirs = row["ours"], row["theirs"]
        pairs = [f"{ours[name]:g}, {theirs[name]:g}" for name in ("p50_ms", "p99_ms", "cpu_ms")]
        rates = [f"{ours['rate']:g}", f"{theirs['rate']:g}", f"{row['ratio']:g}"]
        lines.append(" | ".join([f"| {row['clients']}", *rates, *pairs, f"`{row['best']}` |"]))
    return "\n".join(lines)


if __name__ == "__main__":
    main()
