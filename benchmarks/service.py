"""The service over HTTP on loopback, compared with infinity-emb: batches, one short text, request sizes, memory."""

import statistics
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from benchmarks.peers import server as servers
from benchmarks.peers.embedder_process import check_same_model
from benchmarks.peers.server import Server
from benchmarks.report.results import RequestSize
from benchmarks.rounds import Measurements, best_variant, interleave, medians
from benchmarks.texts import Texts

OURS, INFINITY = "serverless-embeddings", "infinity-emb"
# Texts per run at most, and whether threads sleep while they wait; the default first. The fastest in a round counts.
SETTINGS = ((32, False), (8, True), (16, True), (32, True))
SHORT = "The food was delicious and the waiter..."
BATCH, BATCH_ROUNDS, BATCH_SECONDS = 256, 9, 40
CALLS, CALL_ROUNDS, CALL_SECONDS = 20, 11, 15
SIZES = (1, 4, 16, 64, 256, 1024, 2048)
SIZE_ROUNDS, SIZE_SECONDS = 5, 20
MAX_TOKENS = 256


@dataclass(frozen=True, slots=True)
class Service:
    """Measurements over HTTP.

    batches  texts per second in every round, by server
    single   median seconds per call with one short text in every round, by server
    sizes    requests to our service, smallest first
    peak_mb  peak memory of our service after a request of 2048 texts of MAX_TOKENS tokens
    """

    batches: Measurements
    single: Measurements
    sizes: tuple[RequestSize, ...]
    peak_mb: float


def measure(texts: Texts) -> Service:
    """Start the servers and measure them interleaved; then measure a new instance of our service alone."""
    with ExitStack() as stack:
        running = {
            f"{INFINITY}, {batch}, {passive}": stack.enter_context(
                servers.infinity(("--batch-size", str(batch)), passive=passive)
            )
            for batch, passive in SETTINGS
        }
        running[OURS] = ours = stack.enter_context(servers.ours())
        for name, each in running.items():
            each.reconnect()
            check_same_model(name, each.embed([SHORT])[1], ours.embed([SHORT])[1])
        samples = [texts.sample(index, BATCH) for index in range(BATCH_ROUNDS)]
        batch_rates = {name: _batch_rate(each, samples) for name, each in running.items()}
        latencies = {name: _latency(each) for name, each in running.items()}
        batches = interleave("HTTP, batches of 256", batch_rates, BATCH_ROUNDS, BATCH_SECONDS)
        single = interleave("HTTP, one short text", latencies, CALL_ROUNDS, CALL_SECONDS)
    return Service(best_variant(batches, INFINITY, max), best_variant(single, INFINITY, min), *_request_sizes(texts))


def _batch_rate(server: Server, samples: list[list[str]]) -> Callable[[int], float]:
    def measure(index: int) -> float:
        server.reconnect()
        return BATCH / server.embed(samples[index])[0]

    return measure


def _latency(server: Server) -> Callable[[int], float]:
    def measure(_: int) -> float:
        server.reconnect()
        return statistics.median(server.embed([SHORT], "float")[0] for _ in range(CALLS))

    return measure


def _request_sizes(texts: Texts) -> tuple[tuple[RequestSize, ...], float]:
    """Return rate and peak memory by request size, and the peak memory after the largest request of longest texts."""
    longest = [texts.of_length(MAX_TOKENS) for _ in range(max(SIZES))]
    with servers.ours() as ours:
        peaks = [_peak_mb(ours, texts.sample(0, size)) for size in SIZES]
        subjects: dict[str, Callable[[int], float]] = {str(size): _sentence_rate(ours, texts, size) for size in SIZES}
        rates = medians(interleave("request sizes", subjects, SIZE_ROUNDS, SIZE_SECONDS))
        peak_mb = _peak_mb(ours, longest)
    sizes = tuple(RequestSize(size, rates[str(size)], peak) for size, peak in zip(SIZES, peaks, strict=True))
    return sizes, peak_mb


def _peak_mb(server: Server, texts: list[str]) -> float:
    server.reconnect()
    server.embed(texts)
    return server.peak_mb()


def _sentence_rate(server: Server, texts: Texts, size: int) -> Callable[[int], float]:
    repeats = max(1, 64 // size)
    sample = texts.sample(0, size)
    return lambda _: size * repeats / sum(server.embed(sample)[0] for _ in range(repeats))
