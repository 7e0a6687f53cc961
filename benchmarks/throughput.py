"""Texts per second in process: every embedder runs in its own processes, and all are measured on the same texts."""

import statistics
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import numpy as np

from benchmarks.peers.embedder_process import Launch, RunningEmbedder, check_same_model, start
from benchmarks.peers.settings import BATCHES, CORES, SENTENCE_TRANSFORMERS, Peer, Setting
from benchmarks.report.results import SENTENCES, Quality, Rate, Speed
from benchmarks.rounds import interleave, ratio
from benchmarks.texts import Texts
from handler.settings import Settings
from model_artifacts.recipe.sts import spearman

OURS, OURS_ONE_WORKER, OURS_SINGLE = "serverless-embeddings", "one worker", "one worker, one text per call"
BASELINE = "onnxruntime, one thread"
OWN = {
    OURS: ("serverless_embeddings", Launch(threads=CORES), 0),
    OURS_ONE_WORKER: ("serverless_embeddings", Launch(), 0),
    OURS_SINGLE: ("serverless_embeddings", Launch(), 1),
    BASELINE: ("onnxruntime", Launch(), 1),
}
ROUNDS, SECONDS = 7, 110
SAMPLE = 512  # texts: two of fastembed's batches, and enough for batches of like lengths
SEARCH_ROUNDS, SEARCH_SECONDS = 2, 25
LENGTHS = (8, 16, 32, 64, 128, 256)
ROUNDS_BY_LENGTH, SECONDS_BY_LENGTH = 5, 25
TOKENS_PER_ROUND = 2048
ALONE = 48  # texts that are embedded alone and in company


@dataclass(frozen=True, slots=True)
class Pace:
    """Texts per second: by the clock, and of the processor time of all threads."""

    wall: float
    cpu: float


@dataclass(frozen=True, slots=True)
class Subject:
    """A started embedder with its setting; `best` unless it is a peer's default, `name` as in the report."""

    name: str
    running: RunningEmbedder
    setting: Setting
    best: bool

    def pace(self, texts: list[str]) -> Pace:
        """Measure the pace with these texts."""
        done = self.running.embed(texts, self.setting.batch, by_length=self.setting.by_length)
        return Pace(len(texts) / done.seconds, len(texts) / done.cpu_seconds)

    def of_batch(self, batch: int) -> "Subject":
        """Return it with another size of batch, sorted by length."""
        return Subject(self.name, self.running, Setting(self.setting.launch, batch, by_length=True), self.best)


def measure(texts: Texts, peers: Iterable[Peer]) -> tuple[tuple[Speed, ...], tuple[Quality, ...]]:
    """Search the peers' best settings; then measure the quality of the vectors, and all embedders interleaved."""
    best = {peer: search(peer, texts) for peer in peers}
    served = Settings().artifacts / Settings().models[0]
    with ExitStack() as stack:
        own = {}
        for name, (kind, launch, batch) in OWN.items():
            running = stack.enter_context(start(kind, served, None, launch))
            own[name] = Subject(name, running, Setting(launch, batch, by_length=False), best=True)
        defaults = [_start(stack, peer, peer.default, best=False) for peer in best]
        chosen = [_start(stack, peer, setting, best=True) for peer, setting in best.items()]
        first = texts.sentences[:1]
        vectors = {each.name: each.running.embed(first, 1, by_length=False).vectors[0] for each in chosen}
        ours = own[OURS].running.embed(first, 1, by_length=False).vectors[0]
        for name, vector in vectors.items():
            check_same_model(name, vector, ours)
        # Comes first, because OpenVINO is slow with every shape that it has not seen.
        qualities = _qualities(texts, [own[OURS], *chosen])
        samples = [texts.sample(index, SAMPLE) for index in range(ROUNDS)]
        speeds = {
            subject: {SENTENCES: rate}
            for subject, rate in _interleave("sentences", [*own.values(), *defaults, *chosen], samples, SECONDS).items()
        }
        for tokens in LENGTHS:
            sample = [texts.of_length(tokens) for _ in range(TOKENS_PER_ROUND // tokens)]
            suited = {_suited(each, sample): each for each in chosen}
            subjects = [*own.values(), *suited]
            rates = _interleave(f"{tokens} tokens", subjects, [sample] * ROUNDS_BY_LENGTH, SECONDS_BY_LENGTH)
            for subject, rate in rates.items():
                speeds[suited.get(subject, subject)][str(tokens)] = rate
    return tuple(Speed(each.name, _describe(each, own), each.best, rates) for each, rates in speeds.items()), qualities


def search(peer: Peer, texts: Texts) -> Setting:
    """Return the setting with the most sentences per second of processor time."""
    sample = texts.sample(0, SAMPLE)
    with ExitStack() as stack:
        running: dict[Launch, RunningEmbedder] = {}
        for launch in dict.fromkeys(setting.launch for setting in peer.candidates()):
            running[launch] = stack.enter_context(start(peer.kind, peer.folder, peer.environment, launch))
        subjects = {
            setting: Subject(peer.name, running[setting.launch], setting, best=True) for setting in peer.candidates()
        }
        by_name = {str(setting): setting for setting in subjects}
        paces = {name: partial(_pace, subjects[setting], [sample]) for name, setting in by_name.items()}
        measured = interleave(f"search: {peer.name}", paces, SEARCH_ROUNDS, SEARCH_SECONDS)
    return by_name[_fastest(measured)]


def _start(stack: ExitStack, peer: Peer, setting: Setting, *, best: bool) -> Subject:
    running = stack.enter_context(start(peer.kind, peer.folder, peer.environment, setting.launch))
    return Subject(peer.name, running, setting, best)


def _pace(subject: Subject, samples: list[list[str]], index: int) -> Pace:
    return subject.pace(samples[index % len(samples)])


def _fastest(measured: Mapping[str, list[Pace]]) -> str:
    return max(measured, key=lambda name: statistics.median(pace.cpu for pace in measured[name]))


def _suited(subject: Subject, sample: list[str]) -> Subject:
    """Return the subject with the size of batch that is best for texts of one length."""
    variants = {str(batch): subject.of_batch(batch) for batch in BATCHES}
    subjects: dict[str, Callable[[int], Pace]] = {
        name: partial(_pace, each, [sample]) for name, each in variants.items()
    }
    return variants[_fastest(interleave(f"search: {subject.name}", subjects, 1, 0))]


def _interleave(title: str, subjects: list[Subject], samples: list[list[str]], seconds: float) -> dict[Subject, Rate]:
    by_name = {f"{each.name}, {each.best}": each for each in subjects}
    paces = {name: partial(_pace, each, samples) for name, each in by_name.items()}
    measured = interleave(title, paces, len(samples), seconds)
    ours = [pace.cpu for pace in measured[f"{OURS}, True"]]
    return {
        by_name[name]: Rate(
            wall=statistics.median(pace.wall for pace in each),
            cpu=statistics.median(pace.cpu for pace in each),
            ratio=ratio(ours, [pace.cpu for pace in each]),
        )
        for name, each in measured.items()
    }


def _describe(subject: Subject, own: Mapping[str, Subject]) -> str:
    if subject.name in own:
        return "a worker per core" if subject.name == OURS else ""
    return str(subject.setting)


def _qualities(texts: Texts, subjects: list[Subject]) -> tuple[Quality, ...]:
    """Compare vectors of all sentences with those at full precision, of sentence-transformers."""
    sentences = texts.sentences
    vectors = {each.name: _embed(each, sentences) for each in subjects}
    full = vectors[SENTENCE_TRANSFORMERS]
    place = {text: index for index, text in enumerate(sentences)}
    qualities = []
    for each in subjects:
        own = vectors[each.name]
        cosine = float(np.mean(np.sum(own * full, 1) / np.linalg.norm(own, axis=1) / np.linalg.norm(full, axis=1)))
        correlation = None
        if texts.pairs:
            rows = [place[text] for text in (*texts.pairs.left, *texts.pairs.right)]
            correlation = spearman(own[rows], texts.pairs.scores)
        qualities.append(Quality(each.name, cosine, correlation, _depends(each, sentences[:ALONE])))
    return tuple(qualities)


def _embed(subject: Subject, texts: list[str]) -> np.ndarray:
    setting = subject.setting
    return subject.running.embed(texts, setting.batch, by_length=setting.by_length, every=True).vectors


def _depends(subject: Subject, texts: list[str]) -> bool:
    """Return whether any bit of a text's vector depends on the texts that are embedded with it."""
    alone = [subject.running.embed([text], 1, by_length=False).vectors[0] for text in texts]
    return _embed(subject, texts).tobytes() != np.array(alone, np.float32).tobytes()
