"""An embedder as long-running processes in its own environment, driven over standard input."""

import base64
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from benchmarks import avx2
from handler.embedding.pooling import Vectors
from tests.emulator import ROOT

PEERS = ROOT / "build/peers"  # where make bench installs them
# The models are local files: nothing has to be downloaded, and no usage is reported.
OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "DO_NOT_TRACK": "1",
    "INFINITY_ANONYMOUS_USAGE_STATS": "0",
}
PASSIVE = {"OMP_WAIT_POLICY": "PASSIVE"}
MIN_COSINE = 0.9  # int8 and full precision of one model are closer than this, other models are far away


@dataclass(frozen=True, slots=True)
class Launch:
    """How an embedder is started.

    processes  among which the texts are divided: 1, or one for each core, on which it stays
    threads    of each process
    passive    whether threads sleep while they wait for each other, and do not busy-wait
    option     of the engine, as benchmarks/peers/worker.py reads it
    """

    processes: int = 1
    threads: int = 1
    passive: bool = False
    option: str = ""

    def __str__(self) -> str:
        """Return the launch in words."""
        parts = ["a process per core" if self.processes > 1 else f"{self.threads} threads"]
        parts += ["passive"] if self.passive else []
        return ", ".join(parts + ([self.option] if self.option else []))


@dataclass(frozen=True, slots=True)
class Embedded:
    """Texts that were embedded.

    seconds      that it took, by the slowest process's clock
    cpu_seconds  of all threads of all processes
    vectors      float32 (texts, dimensions); only one of each process's if no more were asked for
    """

    seconds: float
    cpu_seconds: float
    vectors: Vectors


@dataclass(frozen=True, slots=True)
class RunningEmbedder:
    """A started embedder."""

    kind: str
    processes: "tuple[subprocess.Popen[str], ...]"

    def embed(self, texts: list[str], batch: int, *, by_length: bool, every: bool = False) -> Embedded:
        """Embed texts in batches, and return the first text's vector or `every` one.

        Raises:
            EOFError: a process has ended.
        """
        order = sorted(range(len(texts)), key=lambda place: len(texts[place])) if by_length else range(len(texts))
        used = self.processes[: len(texts)]
        shares = [order[number :: len(used)] for number in range(len(used))]
        for process, share in zip(used, shares, strict=True):
            assert process.stdin
            request = {"texts": [texts[place] for place in share], "batch": batch, "by_length": by_length}
            process.stdin.write(json.dumps(request | {"every": every}) + "\n")
            process.stdin.flush()
        results = [self._result(process) for process in used]
        vectors = np.concatenate([result.vectors for result in results])
        if every:
            vectors = vectors[np.argsort([place for share in shares for place in share])]
        return Embedded(max(each.seconds for each in results), sum(each.cpu_seconds for each in results), vectors)

    def _result(self, process: "subprocess.Popen[str]") -> Embedded:
        assert process.stdout
        line = process.stdout.readline()
        if not line:
            raise EOFError(self.kind)
        result = json.loads(line)
        vectors = np.frombuffer(base64.b64decode(result["vectors"]), np.float32).reshape(-1, result["size"])
        return Embedded(result["seconds"], result["cpu"], vectors)


@contextmanager
def start(kind: str, folder: Path, environment: str | None, launch: Launch) -> Iterator[RunningEmbedder]:
    """Run an embedder until the block ends. Its output goes to a log, which is printed if it fails."""
    command = [python_of(environment), "-m", "benchmarks.peers.worker", kind, str(folder)]
    command += [str(launch.threads), launch.option]
    variables = os.environ | OFFLINE | {"OMP_NUM_THREADS": str(launch.threads)} | (PASSIVE if launch.passive else {})
    cores = sorted(os.sched_getaffinity(0))
    with ExitStack() as stack:
        log = stack.enter_context(tempfile.TemporaryFile("w+"))
        # OpenVINO would run the threads of all processes on the first core, if each did not have its own.
        processes = tuple(
            stack.enter_context(_worker(command, variables, {cores[number]} if launch.processes > 1 else cores, log))
            for number in range(launch.processes)
        )
        try:
            yield RunningEmbedder(kind, processes)
        except EOFError:
            log.seek(0)
            print(f"{kind} ({launch}):\n{log.read()}", file=sys.stderr)
            raise
        finally:
            for process in processes:
                process.terminate()


def _worker(
    command: list[str], variables: dict[str, str], cores: Collection[int], log: IO[str]
) -> "subprocess.Popen[str]":
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, cwd=ROOT, env=variables, stdin=pipe, stdout=pipe, stderr=log, text=True)
    os.sched_setaffinity(process.pid, cores)  # before it imports what looks at them
    return process


def python_of(environment: str | None) -> str:
    """Return the interpreter of a peer's environment, or this one."""
    if environment is None:
        return sys.executable
    path = (avx2.COPIES if avx2.hidden() else PEERS) / environment / "bin/python"
    if not path.exists():
        sys.exit(f"{path} is missing: make bench installs the peers")
    return str(path)


def check_same_model(name: str, vector: Vectors, ours: Vectors) -> None:
    """Exit if the vectors of the same text show that an embedder uses another model than ours."""
    cosine = float(vector @ ours)
    if cosine < MIN_COSINE:
        sys.exit(f"{name} does not embed with the same model: its first vector's cosine with ours is {cosine:.3f}")
