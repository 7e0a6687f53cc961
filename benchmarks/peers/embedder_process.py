"""An embedder as a long-running process in its own environment, driven over standard input."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from handler.embedding.pooling import Vectors
from tests.emulator import ROOT

PEERS = ROOT / "build/peers"  # where make bench installs them
# The models are local files: nothing has to be downloaded, and no usage is reported.
OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "DO_NOT_TRACK": "1",
    "INFINITY_ANONYMOUS_USAGE_STATS": "0",
}
THREADS = len(os.sched_getaffinity(0))
# By default PyTorch's OpenMP threads busy-wait for each other. That is fastest on an idle machine, and a tenth as fast
# on one where another process uses a core (503 and 46 sentences per second); with the passive policy it is 410 to 430
# on both. So PyTorch runs with both policies, and the faster one in each round counts.
WAIT_POLICIES: dict[str, dict[str, str]] = {"default": {}, "passive": {"OMP_WAIT_POLICY": "PASSIVE"}}
MIN_COSINE = 0.9  # int8 and full precision of one model are closer than this, other models are far away


@dataclass(frozen=True, slots=True)
class EmbedderProcess:
    """An embedder that can be started.

    kind         a key of KINDS in benchmarks/peers/worker.py
    folder       the model's directory
    peer         whose environment it runs in; None for the project's own
    wait_policy  a key of WAIT_POLICIES
    threads      the number of threads it may use
    """

    kind: str
    folder: Path
    peer: str | None = None
    wait_policy: str = "default"
    threads: int = THREADS

    @contextmanager
    def start(self) -> Iterator["RunningEmbedder"]:
        """Run the process until the block ends. Its output goes to a log, which is printed if it fails."""
        python = python_of(self.peer) if self.peer else sys.executable
        command = [python, "-m", "benchmarks.peers.worker", self.kind, str(self.folder), str(self.threads)]
        pipe = subprocess.PIPE
        with (
            tempfile.TemporaryFile("w+") as log,
            subprocess.Popen(
                command,
                cwd=ROOT,
                env=os.environ | OFFLINE | WAIT_POLICIES[self.wait_policy],
                stdin=pipe,
                stdout=pipe,
                stderr=log,
                text=True,
            ) as process,
        ):
            try:
                yield RunningEmbedder(process)
            except EOFError:
                log.seek(0)
                sys.exit(f"{self.kind} has failed:\n{log.read()}")
            finally:
                process.terminate()


@dataclass(frozen=True, slots=True)
class RunningEmbedder:
    """A started embedder."""

    process: "subprocess.Popen[str]"

    def embed(self, texts: list[str]) -> tuple[float, Vectors]:
        """Return the seconds that embedding took, by the worker's clock, and the first text's vector.

        Raises:
            EOFError: the process has ended.
        """
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps(texts) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise EOFError
        result = json.loads(line)
        return result["seconds"], np.array(result["vector"], np.float32)


def python_of(peer: str) -> str:
    """Return the interpreter of a peer's environment."""
    path = PEERS / peer / "bin/python"
    if not path.exists():
        sys.exit(f"{path} is missing: make bench installs the peers")
    return str(path)


def check_same_model(name: str, vector: Vectors, ours: Vectors) -> None:
    """Exit if the vectors of the same text show that an embedder uses another model than ours."""
    cosine = float(vector @ ours)
    if cosine < MIN_COSINE:
        sys.exit(f"{name} does not embed with the same model: its first vector's cosine with ours is {cosine:.3f}")
