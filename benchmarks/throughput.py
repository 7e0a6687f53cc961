"""Texts a second in process: every contender in its own, all of them taking turns on the same texts."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers.embedder_process import PATIENCE, THREADS, Contender, Running, check_same
from benchmarks.rounds import Measurements, best, take_turns
from benchmarks.texts import Texts
from handler.settings import Settings
from model_artifacts.recipe.source import default_directory

OURS, OURS_ALONE, FLOOR = "serverless-embeddings", "one worker", "onnxruntime, one thread"
FASTEMBED, FASTEMBED_INT8, SENTENCE_TRANSFORMERS = "fastembed", "fastembed, plain int8", "sentence-transformers"
ROUNDS, SECONDS = 9, 90
SAMPLE = 256  # fastembed's batch
LENGTHS = (8, 16, 32, 64, 128, 256)
ROUNDS_BY_LENGTH, SECONDS_BY_LENGTH = 7, 20
TOKENS_A_TURN = 2048


@dataclass(frozen=True, slots=True)
class Throughput:
    """Texts a second of every round, by contender; the same by tokens of a text."""

    sentences: Measurements
    lengths: dict[int, Measurements]


def measure(texts: Texts, full: Path, plain: Path) -> Throughput:
    """Start all, and let them take turns; `full` and `plain` are what fastembed is fed."""
    served = Settings().artifacts / Settings().models[0]
    contenders = {
        OURS: Contender("serverless_embeddings", served),
        OURS_ALONE: Contender("serverless_embeddings", served, threads=1),
        FLOOR: Contender("onnxruntime", served, threads=1),
        FASTEMBED: Contender("fastembed", full, "fastembed"),
        FASTEMBED_INT8: Contender("fastembed", plain, "fastembed"),
    } | {
        f"{SENTENCE_TRANSFORMERS}, {patience}": Contender(
            "sentence_transformers", default_directory(), "sentence-transformers", patience
        )
        for patience in PATIENCE
    }
    with ExitStack() as stack:
        running = {name: stack.enter_context(contender.start()) for name, contender in contenders.items()}
        first = {name: each.embed(texts.sentences[:1])[1] for name, each in running.items()}
        for name, vector in first.items():
            check_same(name, vector, first[OURS])
        samples = [texts.sample(index, SAMPLE) for index in range(ROUNDS)]
        sentences = _take_turns(f"in process, {THREADS} threads", running, samples, SECONDS)
        lengths = {}
        for tokens in LENGTHS:
            same = [[texts.of_length(tokens) for _ in range(TOKENS_A_TURN // tokens)]] * ROUNDS_BY_LENGTH
            lengths[tokens] = _take_turns(f"texts of {tokens} tokens", running, same, SECONDS_BY_LENGTH)
    return Throughput(sentences, lengths)


def _take_turns(title: str, running: dict[str, Running], samples: list[list[str]], seconds: float) -> Measurements:
    def turn(contender: Running) -> Callable[[int], float]:
        return lambda index: len(samples[index]) / contender.embed(samples[index])[0]

    measured = take_turns(title, {name: turn(each) for name, each in running.items()}, len(samples), seconds)
    return best(measured, SENTENCE_TRANSFORMERS, max)
