"""Texts per second in process: every embedder runs in its own process, and all are measured on the same texts."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers.embedder_process import (
    THREADS,
    WAIT_POLICIES,
    EmbedderProcess,
    RunningEmbedder,
    check_same_model,
)
from benchmarks.rounds import Measurements, best_variant, interleave
from benchmarks.texts import Texts
from handler.settings import Settings
from model_artifacts.recipe.source import default_directory

OURS, OURS_ONE_WORKER, BASELINE = "serverless-embeddings", "one worker", "onnxruntime, one thread"
FASTEMBED, FASTEMBED_INT8, SENTENCE_TRANSFORMERS = "fastembed", "fastembed, plain int8", "sentence-transformers"
ROUNDS, SECONDS = 9, 90
SAMPLE = 256  # texts: fastembed's batch size
LENGTHS = (8, 16, 32, 64, 128, 256)
ROUNDS_BY_LENGTH, SECONDS_BY_LENGTH = 7, 20
TOKENS_PER_ROUND = 2048


@dataclass(frozen=True, slots=True)
class Throughput:
    """Texts per second in every round, by embedder; `lengths` holds the same by tokens per text."""

    sentences: Measurements
    lengths: dict[int, Measurements]


def measure(texts: Texts, full: Path, plain: Path) -> Throughput:
    """Start all embedders and measure them interleaved; `full` and `plain` are the graphs given to fastembed."""
    served = Settings().artifacts / Settings().models[0]
    processes = {
        OURS: EmbedderProcess("serverless_embeddings", served),
        OURS_ONE_WORKER: EmbedderProcess("serverless_embeddings", served, threads=1),
        BASELINE: EmbedderProcess("onnxruntime", served, threads=1),
        FASTEMBED: EmbedderProcess("fastembed", full, "fastembed"),
        FASTEMBED_INT8: EmbedderProcess("fastembed", plain, "fastembed"),
    } | {
        f"{SENTENCE_TRANSFORMERS}, {policy}": EmbedderProcess(
            "sentence_transformers", default_directory(), "sentence-transformers", policy
        )
        for policy in WAIT_POLICIES
    }
    with ExitStack() as stack:
        running = {name: stack.enter_context(process.start()) for name, process in processes.items()}
        vectors = {name: each.embed(texts.sentences[:1])[1] for name, each in running.items()}
        for name, vector in vectors.items():
            check_same_model(name, vector, vectors[OURS])
        samples = [texts.sample(index, SAMPLE) for index in range(ROUNDS)]
        sentences = _interleave(f"in process, {THREADS} threads", running, samples, SECONDS)
        lengths = {}
        for tokens in LENGTHS:
            sample = [texts.of_length(tokens) for _ in range(TOKENS_PER_ROUND // tokens)]
            title = f"texts of {tokens} tokens"
            lengths[tokens] = _interleave(title, running, [sample] * ROUNDS_BY_LENGTH, SECONDS_BY_LENGTH)
    return Throughput(sentences, lengths)


def _interleave(
    title: str, running: dict[str, RunningEmbedder], samples: list[list[str]], seconds: float
) -> Measurements:
    def rate(embedder: RunningEmbedder) -> Callable[[int], float]:
        return lambda index: len(samples[index]) / embedder.embed(samples[index])[0]

    measured = interleave(title, {name: rate(each) for name, each in running.items()}, len(samples), seconds)
    return best_variant(measured, SENTENCE_TRANSFORMERS, max)
