"""The peers of `make bench` in process, and the settings among which it searches each one's best."""

import os
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers.embedder_process import PEERS, Launch
from model_artifacts.recipe.source import default_directory

CORES = len(os.sched_getaffinity(0))
MODELS = PEERS / "models"
ALL_THREADS, PASSIVE = Launch(threads=CORES), Launch(threads=CORES, passive=True)
PER_CORE = Launch(processes=CORES)
BATCHES = (4, 8, 16, 32)


@dataclass(frozen=True, slots=True)
class Setting:
    """How a peer embeds texts.

    batch      texts per run; 0 for all at once, as the embedder divides them
    by_length  whether texts are sorted by length first
    """

    launch: Launch
    batch: int
    by_length: bool

    def __str__(self) -> str:
        """Return the setting in words."""
        order = "sorted by length" if self.by_length else "in order"
        return f"{self.launch}, batches of {self.batch}, {order}"


@dataclass(frozen=True, slots=True)
class Peer:
    """An implementation to compare with.

    kind         a key of KINDS in benchmarks/peers/worker.py
    folder       the model's directory
    environment  the name of its environment; None for the project's own
    default      what it does by itself; where it is an engine without an embedder, batches of 32 in the texts' order
    launches     ways to start it among which the best is searched, with every size of batch, sorted by length
    """

    name: str
    kind: str
    folder: Path
    environment: str | None
    default: Setting
    launches: tuple[Launch, ...]

    def candidates(self) -> list[Setting]:
        """Return the settings that are searched, the default included."""
        searched = [Setting(launch, batch, by_length=True) for launch in self.launches for batch in BATCHES]
        return [self.default, *searched]


PLAIN_OPTIONS = ("basic", "no SkipLayerNormFusion")  # the level "extended" is as fast as the default, "all"
FASTEMBED, SENTENCE_TRANSFORMERS = "fastembed", "sentence-transformers"
FASTEMBED_INT8, PLAIN = "fastembed, plain int8", "ONNX Runtime, plain int8"
CTRANSLATE2, OPENVINO, OPENVINO_INT8 = "CTranslate2, int8", "OpenVINO", "OpenVINO, int8"
NAMES = (FASTEMBED, FASTEMBED_INT8, SENTENCE_TRANSFORMERS, PLAIN, CTRANSLATE2, OPENVINO, OPENVINO_INT8)


def peers(full: Path, plain: Path) -> tuple[Peer, ...]:
    """Return all peers; `full` and `plain` are the folders of the graphs for ONNX Runtime."""
    in_order = Setting(ALL_THREADS, 32, by_length=False)
    fastembed = Setting(ALL_THREADS, 256, by_length=False)
    options = tuple(Launch(processes=CORES, option=option) for option in PLAIN_OPTIONS)
    precise = Launch(processes=CORES, option="float32")
    return (
        Peer(FASTEMBED, "fastembed", full, "fastembed", fastembed, (PER_CORE,)),
        Peer(FASTEMBED_INT8, "fastembed", plain, "fastembed", fastembed, (PER_CORE,)),
        Peer(
            SENTENCE_TRANSFORMERS,
            "sentence_transformers",
            default_directory(),
            "sentence-transformers",
            Setting(ALL_THREADS, 32, by_length=True),
            (PASSIVE, PER_CORE),
        ),
        Peer(PLAIN, "plain", plain, None, in_order, (PASSIVE, PER_CORE, *options)),
        Peer(
            CTRANSLATE2,
            "ctranslate2",
            MODELS / "ctranslate2",
            "ctranslate2",
            in_order,
            (PER_CORE,),
        ),
        Peer(OPENVINO, "openvino", MODELS / "openvino/full", "openvino", in_order, (precise,)),
        Peer(OPENVINO_INT8, "openvino", MODELS / "openvino/int8", "openvino", in_order, (PER_CORE, precise)),
    )
