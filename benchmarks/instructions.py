"""Instruction counts by valgrind's callgrind: unlike times they are stable on a noisy machine, so CI can check them.

make bench-instructions (RECORD=1 writes benchmarks/instructions.json)

Of a cold start the whole process is counted. Of the other parts only the work after a warm-up is counted: the process
under callgrind tells it when to count, so its start does not have to be subtracted or instrumented. Valgrind's virtual
processor has AVX2 and no AVX-512 on every machine. The counts also depend on the interpreter, the locked packages and
the C library, so a record is valid for one Python.
"""

import argparse
import ctypes
import json
import mmap
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks import cold, overhead
from handler.api.app import create_app
from handler.artifacts.resolver import load
from handler.embedding.embedder import Embedder
from handler.lambda_events import LambdaHandler
from handler.models.catalog import Catalog
from handler.settings import Settings
from tests.emulator import ROOT
from tests.events import context as lambda_context
from tests.events import event

RECORD = Path(__file__).with_name("instructions.json")
TOLERANCE = 0.02  # repetitions differ by up to half a percent, mostly by a thousandth
LENGTHS = (8, 14, 32, 64, 110)
TEXTS = 256
MIXED = [" ".join(overhead.TEXT.split()[:words]) for words in range(3, 19)]  # 16 texts, of 6 to 21 tokens
REPEATS = 20  # of the request with one text
# The cache holds the last vector only: each text is looked up in vain, is added, and evicts another.
VECTOR_CACHE = 3000
COLD_START = f"import os\nrecord = str\n{cold.IMPLEMENTATIONS['ours']}\nos._exit(0)"
# Client requests, from valgrind's callgrind.h.
DUMP, ZERO, START, STOP = (0x43540000 + number for number in (0, 1, 4, 5))
# The instruction sequence that valgrind recognizes as a client request: rotations that cancel out, and an exchange of a
# register with itself. It is a function of one argument: the address of the request's number and its five arguments.
MAGIC = bytes.fromhex("4889f8 31d2 48c1c703 48c1c70d 48c1c73d 48c1c733 4887db 4889d0 c3")


def main() -> None:
    """Count instructions; compare with the record, or replace it."""
    parser = argparse.ArgumentParser(description="Count instructions and compare with those recorded.")
    parser.add_argument("--record", action="store_true", help="write the counts instead of comparing")
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)  # the process under callgrind
    arguments = parser.parse_args()
    if arguments.work:
        work()
        return
    counts = count()
    environment = f"Python {platform.python_version()}, {platform.machine()}"
    if arguments.record:
        RECORD.write_text(json.dumps({"environment": environment, "counts": counts}, indent=1) + "\n")
        print(f"wrote {RECORD.relative_to(ROOT)}; give the reason in the commit message")
    recorded = json.loads(RECORD.read_text())
    print(f"{'instructions, millions':36}{'recorded':>10}{'now':>10}{'change':>9}")
    for name, now in counts.items():
        before = recorded["counts"][name]
        print(f"{name:36}{before / 1e6:10.2f}{now / 1e6:10.2f}{now / before - 1:+9.2%}")
    if recorded["environment"] != environment:
        sys.exit(
            f"the record is for {recorded['environment']} and this is {environment}: the counts are not comparable"
        )
    if regressed := [name for name, now in counts.items() if now > recorded["counts"][name] * (1 + TOLERANCE)]:
        sys.exit(f"more than {TOLERANCE:.0%} above the record: {'; '.join(regressed)}. If intended: RECORD=1")


def count() -> dict[str, int]:
    """Run a cold start and the work under callgrind; return the instruction count of each part."""
    if shutil.which("valgrind") is None:
        sys.exit("valgrind is not on the PATH: apt-get install valgrind")
    cold.run(COLD_START)  # writes the bytecode caches
    _, (started,) = _count(["-c", COLD_START], cold.environment())
    names, counts = _count(["-m", "benchmarks.instructions", "--work"], os.environ, "--instr-atstart=no")
    return {"cold start": started, **dict(zip(names, counts, strict=True))}


def _count(arguments: list[str], environ: Mapping[str, str], *options: str) -> tuple[list[str], list[int]]:
    """Run Python under callgrind; return the lines of its output, and the count of each dump."""
    environment = {**environ, "PYTHONHASHSEED": "0", "TOKENIZERS_PARALLELISM": "false"}
    with tempfile.TemporaryDirectory() as folder:
        valgrind = ["valgrind", "--quiet", "--tool=callgrind", *options, f"--callgrind-out-file={folder}/out"]
        command = [*valgrind, sys.executable, *arguments]
        lines = subprocess.check_output(command, cwd=ROOT, env=environment, text=True).splitlines()
        parts = sorted(Path(folder).glob("out.*"), key=lambda path: int(path.suffix[1:]))
        dumps = [path.read_text() for path in parts or [Path(folder, "out")]]  # without requests, one at the end
    totals = [re.search(r"^totals: (\d+)", dump, re.MULTILINE) for dump in dumps]
    return lines, [int(total[1]) for total in totals if total]


def work() -> None:
    """Run each part twice, first as a warm-up and then counted; print the names in order."""
    callgrind = Callgrind()
    for name, part in parts().items():
        part()
        print(name, flush=True)
        callgrind.request(START)
        callgrind.request(ZERO)
        part()
        callgrind.request(DUMP)
        callgrind.request(STOP)


def parts() -> dict[str, Callable[[], object]]:
    """Return the functions to count, by name."""
    settings = Settings(token_input="native", auth_mode="none", vector_cache=VECTOR_CACHE)
    embedder = Embedder(load(settings.models[0], settings), settings)
    random = np.random.default_rng(0)
    requests = iter([[random.integers(1000, 30000, length).tolist() for length in LENGTHS] for _ in range(2)])
    handle = overhead.handler_without_model(VECTOR_CACHE)
    context = lambda_context()
    one, other = (event("http-api-2.0", overhead.body(1, first).decode()) for first in range(2))
    many = event("http-api-2.0", overhead.body(TEXTS).decode())
    mixed = iter([event("http-api-2.0", _mixed(first)) for first in ("One", "Two")])
    handle_all = LambdaHandler(create_app(settings, Catalog.of([embedder], settings)))
    return {
        f"embed {len(LENGTHS)} texts, {sum(LENGTHS)} tokens": lambda: embedder.embed(next(requests), cache=True),
        f"a request of {len(MIXED)} texts of as many lengths": lambda: handle_all(next(mixed), context),
        f"{REPEATS} requests, without the model": lambda: [
            handle(each, context) for each in (one, other) * (REPEATS // 2)
        ],
        f"a request of {TEXTS}, without the model": partial(handle, many, context),
    }


def _mixed(first: str) -> str:
    """Return the body of a request with texts of many lengths, whose first word is this one."""
    return json.dumps({"model": "all-MiniLM-L6-v2", "input": [f"{first} {text}" for text in MIXED]})


class Callgrind:
    """Client requests to callgrind; they do nothing when the process does not run under valgrind."""

    def __init__(self) -> None:
        self._page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        self._page.write(MAGIC)
        address = ctypes.addressof(ctypes.c_char.from_buffer(self._page))
        self._call = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.POINTER(ctypes.c_uint64))(address)

    def request(self, number: int) -> None:
        """Send a client request."""
        self._call((ctypes.c_uint64 * 6)(number))


if __name__ == "__main__":
    main()
