"""The service over HTTP on loopback, beside infinity-emb's: batches, one short text, sizes of a request, memory."""

import statistics
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from benchmarks.peers import server
from benchmarks.peers.embedder_process import PATIENCE, check_same
from benchmarks.peers.server import Server
from benchmarks.report.results import RequestSize
from benchmarks.rounds import Measurements, best, medians, take_turns
from benchmarks.texts import Texts

OURS, INFINITY = "serverless-embeddings", "infinity-emb"
SHORT = "The food was delicious and the waiter..."
BATCH, BATCH_ROUNDS, BATCH_SECONDS = 256, 9, 40
CALLS, CALL_ROUNDS, CALL_SECONDS = 20, 11, 15
SIZES = (1, 4, 16, 64, 256, 1024, 2048)
SIZE_ROUNDS, SIZE_SECONDS = 5, 20
LONG = 256  # tokens


@dataclass(frozen=True, slots=True)
class Service:
    """What was measured over HTTP.

    batches  texts a second of every round, by server
    single   median seconds of every round's calls with one short text, by server
    sizes    requests of ours, smallest first
    peak_mb  the most memory that 2048 of the longest texts take
    """

    batches: Measurements
    single: Measurements
    sizes: tuple[RequestSize, ...]
    peak_mb: float


def measure(texts: Texts) -> Service:
    """Start the servers and let them take turns; then ours alone."""
    with ExitStack() as stack:
        servers = {f"{INFINITY}, {patience}": stack.enter_context(server.infinity(patience)) for patience in PATIENCE}
        servers[OURS] = ours = stack.enter_context(server.ours())
        for name, each in servers.items():
            each.connect()
            check_same(name, each.embed([SHORT])[1], ours.embed([SHORT])[1])
        samples = [texts.sample(index, BATCH) for index in range(BATCH_ROUNDS)]
        batches = {name: _batch(each, samples) for name, each in servers.items()}
        singles = {name: _single(each) for name, each in servers.items()}
        by_batch = take_turns("HTTP, batches of 256", batches, BATCH_ROUNDS, BATCH_SECONDS)
        by_text = take_turns("HTTP, one short text", singles, CALL_ROUNDS, CALL_SECONDS)
    return Service(best(by_batch, INFINITY, max), best(by_text, INFINITY, min), *_alone(texts))


def _batch(asked: Server, samples: list[list[str]]) -> Callable[[int], float]:
    def turn(index: int) -> float:
        asked.connect()
        return BATCH / asked.embed(samples[index])[0]

    return turn


def _single(asked: Server) -> Callable[[int], float]:
    def turn(_: int) -> float:
        asked.connect()
        return statistics.median(asked.embed([SHORT], "float")[0] for _ in range(CALLS))

    return turn


def _alone(texts: Texts) -> tuple[tuple[RequestSize, ...], float]:
    """Return rate and peak by size, of sentences in a fresh service, and the peak after as many of the longest."""
    longest = [texts.of_length(LONG) for _ in range(max(SIZES))]
    with server.ours() as ours:
        peaks = [_peak(ours, texts.sample(0, size)) for size in SIZES]
        turns: dict[str, Callable[[int], float]] = {str(size): _rate(ours, texts, size) for size in SIZES}
        rates = take_turns("sizes of a request", turns, SIZE_ROUNDS, SIZE_SECONDS)
        peak_mb = _peak(ours, longest)
    middle = medians(rates)
    return tuple(RequestSize(size, middle[str(size)], peak) for size, peak in zip(SIZES, peaks, strict=True)), peak_mb


def _peak(ours: Server, texts: list[str]) -> float:
    ours.connect()
    ours.embed(texts)
    return ours.peak_mb()


def _rate(ours: Server, texts: Texts, size: int) -> Callable[[int], float]:
    repeats = max(1, 64 // size)
    sample = texts.sample(0, size)
    return lambda _: size * repeats / sum(ours.embed(sample)[0] for _ in range(repeats))
