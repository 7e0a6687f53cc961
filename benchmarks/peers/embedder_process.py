"""A contender as a process that stays: in an environment of its own, asked over its standard input."""

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
# Nobody measured here has to look anything up, and nobody needs to hear of it.
QUIET = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "DO_NOT_TRACK": "1", "INFINITY_ANONYMOUS_USAGE_STATS": "0"}
THREADS = len(os.sched_getaffinity(0))
# PyTorch's threads wait for each other busily: best on a quiet machine, a tenth of that where somebody else has a core
# (503 and 46 sentences a second). Told to sleep they do 410 to 430 on both. So PyTorch runs in both ways, and the
# better one of a round counts.
PATIENCE: dict[str, dict[str, str]] = {"as it comes": {}, "patient": {"OMP_WAIT_POLICY": "PASSIVE"}}
SAME = 0.9  # cosine with our vector: int8 and full precision of one model are closer, other models far away


@dataclass(frozen=True, slots=True)
class Contender:
    """Who takes part.

    kind      what benchmarks/peers/worker.py calls it
    folder    the model it reads
    peer      whose environment it runs in; the project's own if nobody's
    patience  how its threads wait
    threads   how many it may use
    """

    kind: str
    folder: Path
    peer: str | None = None
    patience: str = "as it comes"
    threads: int = THREADS

    @contextmanager
    def start(self) -> Iterator["Running"]:
        """Run it until the block ends; what it says goes to a log, shown if it fails."""
        python = python_of(self.peer) if self.peer else sys.executable
        command = [python, "-m", "benchmarks.peers.worker", self.kind, str(self.folder), str(self.threads)]
        pipe = subprocess.PIPE
        with (
            tempfile.TemporaryFile("w+") as log,
            subprocess.Popen(
                command,
                cwd=ROOT,
                env=os.environ | QUIET | PATIENCE[self.patience],
                stdin=pipe,
                stdout=pipe,
                stderr=log,
                text=True,
            ) as process,
        ):
            try:
                yield Running(process)
            except EOFError:
                log.seek(0)
                sys.exit(f"{self.kind} has failed:\n{log.read()}")
            finally:
                process.terminate()


@dataclass(frozen=True, slots=True)
class Running:
    """A contender at work."""

    process: "subprocess.Popen[str]"

    def embed(self, texts: list[str]) -> tuple[float, Vectors]:
        """Return the seconds it took, by its own clock, and the first text's vector.

        Raises:
            EOFError: it has ended.
        """
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps(texts) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise EOFError
        parsed = json.loads(answer)
        return parsed["seconds"], np.array(parsed["vector"], np.float32)


def python_of(peer: str) -> str:
    """Return the interpreter of a peer's environment."""
    path = PEERS / peer / "bin/python"
    if not path.exists():
        sys.exit(f"{path} is missing: make bench installs the peers")
    return str(path)


def check_same(name: str, vector: Vectors, ours: Vectors) -> None:
    """Make sure that a contender does the same work."""
    cosine = float(vector @ ours)
    if cosine < SAME:
        sys.exit(f"{name} does not embed with the same model: its first vector's cosine with ours is {cosine:.3f}")
