"""Searches for the worst request: the most CPU time outside inference, and the most memory, that one request can take.

make worst (WORST_SECONDS=60 per search; each mode has two searches, for CPU and for memory)

The search is a hill climb over the properties of a request. Every candidate runs in a new process, forked from one that
has loaded the bundled model, and goes through `lambda_handler`, including its body and event. Inference is replaced by
a constant: its time has another budget, which the deadline limits. The worst candidates of each mode then run once with
real inference, under Lambda's emulator and its timeout of 29 seconds.
"""

import argparse
import gzip
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from itertools import cycle, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handler.api.limits import MAX_BODY_BYTES
from handler.contract.schemas import MAX_INPUTS, MAX_TOKEN_IDS
from handler.embedding import cl100k
from handler.embedding.inference import InferenceSession
from handler.embedding.pooling import HiddenStates
from tests import emulator
from tests.events import context, event

MAX_CPU_SECONDS, MAX_MEGABYTES = 3.0, 350.0  # at default settings
# Settings that change how inputs are processed.
DEFAULT_MODE = "window"
MODES = {
    "window": {},
    "truncate": {"LONG_INPUT": "truncate"},
    "error": {"LONG_INPUT": "error"},
    "window, native ids": {"TOKEN_INPUT": "native"},
    "error, native ids": {"LONG_INPUT": "error", "TOKEN_INPUT": "native"},
}
ALPHABETS = {
    "letters": "abcdefghijklmnopqrstuvwxyz",
    "digits": "0123456789",
    "one letter": "q",
    "capitals": "QZX",
    "punctuation": "!-[]'\\\"",
    "control": "\x01\x7f\x1f",
    "accented": "\u00e9\u00fc\u0130\u1e9e",
    "combining": "e\u0301\u0327",
    "cyrillic": "\u043f\u0440\u0438\u0432\u0435\u0442",
    "cjk": "\u4e2d\u6587\u5b57",
    "hangul": "\ud55c\uad6d\uc5b4",
    "expanding": "\ufdfa\ufb03\u33ff",
    "emoji": "\U0001f600\U0001f468\u200d",
    "symbol": "\u20bf",
}
SEPARATORS = (" ", "", "-", "\n", "[MASK]", "\u2014", "\u00a0")
SHAPES = ("text", "ids", "ids of the longest tokens", "unused field", "nested lists", "gzip blocks")
# The bits of a block without content in gzip's format (RFC 1951, section 3.2.7): for each one, a table is built.
EMPTY_BLOCK = "001" + 10 * "0" + "0111" + 2 * "000" + "100" + 14 * "000" + "100" + "11111111" + "11101011" + "000"
EMPTY_BLOCKS = int(EMPTY_BLOCK[::-1] * 8, 2).to_bytes(len(EMPTY_BLOCK), "little")  # eight of them
SEED = 13


@dataclass(frozen=True, slots=True)
class Candidate:
    """The properties of a request.

    alphabet     the alphabet of a word's characters
    ending       the alphabet of a word's last character
    word         characters per word
    distinct     the number of different words before they repeat
    inputs       inputs per request
    length       characters, or token IDs, per input
    """

    shape: str = "text"
    alphabet: str = "letters"
    ending: str = "letters"
    separator: str = " "
    word: int = 5
    distinct: int = 1000
    inputs: int = 64
    length: int = 500
    encoding_format: str = "base64"
    escaped: bool = False
    compressed: bool = False

    def mutated(self, chance: random.Random) -> "Candidate":
        """Return a candidate with one to three changed values; sizes are drawn again or multiplied by a factor."""
        other, values = Candidate.drawn(chance), asdict(self)
        for name in chance.sample([field.name for field in fields(Candidate)], chance.randint(1, 3)):
            value = values[name]
            near = type(value) is int and chance.random() < 0.5
            values[name] = max(1, int(value * chance.choice((0.5, 0.9, 1.1, 2)))) if near else getattr(other, name)
        return Candidate(**values)

    @classmethod
    def drawn(cls, chance: random.Random) -> "Candidate":
        """Return a random candidate; the logarithms of its sizes are uniformly distributed."""
        return cls(
            shape=chance.choices(SHAPES, (6, 2, 2, 1, 1, 1))[0],
            alphabet=chance.choice(list(ALPHABETS)),
            ending=chance.choice(list(ALPHABETS)),
            separator=chance.choice(SEPARATORS),
            word=int(2 ** chance.uniform(0, 16)),
            distinct=int(2 ** chance.uniform(0, 20)),
            inputs=int(2 ** chance.uniform(0, 11)),
            length=int(2 ** chance.uniform(0, 16)),
            encoding_format=chance.choice(("base64", "float")),
            escaped=chance.random() < 0.1,
            compressed=chance.random() < 0.2,
        )

    def event(self, first_word: int = 0) -> dict[str, Any]:
        """Return the event of a request with this body; the client accepts gzip."""
        if self.shape == "gzip blocks":
            blocks = gzip.compress(b"")[:10] + EMPTY_BLOCKS * ((MAX_BODY_BYTES - 10) // len(EMPTY_BLOCKS))
            return event("http-api-2.0", blocks, **{"content-encoding": "gzip"})
        body = self.body(first_word)
        if self.compressed:
            return event("http-api-2.0", gzip.compress(body.encode(), 1), **{"content-encoding": "gzip"})
        return event("http-api-2.0", body)

    def body(self, first_word: int = 0) -> str:
        """Return a request body with as many of the inputs as the size limit allows."""
        fixed = {"model": "all-MiniLM-L6-v2", "encoding_format": self.encoding_format}
        if self.shape == "unused field":
            filler = json.dumps({**fixed, "input": "a", "unused": [self._text(0, 0)] * self.inputs}, ensure_ascii=False)
            return filler if len(filler.encode()) <= MAX_BODY_BYTES else json.dumps({**fixed, "input": "a"})
        if self.shape == "nested lists":
            depth = min(self.word, 190)  # the JSON parser accepts 200
            nested = "[" * depth + "]" * depth
            count = min(self.inputs * self.length, MAX_BODY_BYTES - 200) // (len(nested) + 1)
            return f'{{"input": "a", "model": [{",".join([nested] * max(1, count))}]}}'
        inputs, room = [], MAX_BODY_BYTES - 200
        for index in range(min(self.inputs, MAX_INPUTS)):
            given = self._text(index, first_word) if self.shape == "text" else self._ids(index)
            room -= len(json.dumps(given, ensure_ascii=self.escaped).encode()) + 2
            if room < 0:
                break
            inputs.append(given)
        return json.dumps({**fixed, "input": inputs or ["a"]}, ensure_ascii=self.escaped)

    def _text(self, index: int, first_word: int) -> str:
        words = max(1, self.length // (self.word + len(self.separator)))
        start = first_word + index * words
        text = self.separator.join(self._word(number % self.distinct) for number in range(start, start + words))
        return text[: min(self.length, cl100k.MAX_CHARACTERS)] or "a"

    def _word(self, number: int) -> str:
        letters, last = ALPHABETS[self.alphabet], ALPHABETS[self.ending]
        word = ""
        while number:
            number, letter = divmod(number, len(letters) + 1)
            word += (letters + "x")[letter]
        return (word + letters * (self.word // len(letters) + 1))[: max(1, self.word - 1)] + last[0]

    def _ids(self, index: int) -> list[int]:
        longest = self.shape == "ids of the longest tokens"
        pool = LONGEST_TOKENS if longest else range(1000, 1001 + self.distinct % 29_000)
        return [pool[(index + position) % len(pool)] for position in range(min(self.length, MAX_TOKEN_IDS))]


def _longest_tokens() -> list[int]:
    _, ends = cl100k._vocabulary()
    lengths = [end - start for start, end in pairwise(ends)]
    return sorted(range(len(lengths)), key=lambda token: -lengths[token])[:50]


LONGEST_TOKENS = _longest_tokens()
KNOWN = (
    Candidate(word=65_000, length=65_000, distinct=63, inputs=63),
    Candidate(word=100, distinct=1 << 20, length=65_000),
    Candidate(word=100, ending="accented", distinct=1 << 20, length=250, inputs=2048),
    Candidate(word=100, ending="symbol", distinct=1 << 20, length=65_000),
    Candidate(word=100, ending="symbol", distinct=1 << 20, length=2_000, inputs=2048),
    Candidate(shape="ids of the longest tokens", inputs=2048, length=8192),
    Candidate(alphabet="cjk", ending="cjk", word=1, separator="", length=250, inputs=2048),
    Candidate(alphabet="cyrillic", ending="cyrillic", length=1_500, inputs=2048, distinct=1 << 20),
    Candidate(alphabet="punctuation", ending="punctuation", word=1, separator="", length=254, inputs=2048),
    Candidate(alphabet="hangul", ending="hangul", word=65_000, length=65_000, inputs=64),
    Candidate(shape="nested lists", word=190, inputs=2048, length=65_000),
    Candidate(shape="gzip blocks"),
    Candidate(length=20, inputs=2048, distinct=1 << 20, encoding_format="float", compressed=True),
)


# Candidates that are cheap enough for thousands of requests.
SOAK = (
    Candidate(word=65_000, length=65_000, inputs=63, distinct=1 << 60),
    Candidate(word=18, length=250, inputs=40, distinct=1 << 60),
    Candidate(shape="ids of the longest tokens", inputs=40, length=400, compressed=True),
    Candidate(alphabet="cyrillic", ending="cyrillic", length=250, inputs=200, distinct=1 << 60),
)
Invoke = Callable[[Any, Any], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU seconds outside inference, peak memory of the process in MB, and the HTTP status of a candidate."""

    cpu: float
    megabytes: float
    status: int


class FreeSession(InferenceSession):
    """A session without computation: the hidden states are one in the first component and zero elsewhere."""

    def __init__(self, hidden: int) -> None:
        self._state: HiddenStates = np.eye(1, hidden, dtype=np.float32)[None]

    def run(self, token_ids: NDArray[np.int64]) -> HiddenStates:
        """Return constant hidden states (tokens, texts, hidden) as a view of one vector."""
        return np.broadcast_to(self._state, (*token_ids.shape, self._state.shape[-1]))


def measure(invoke: Invoke, candidate: Candidate) -> Cost:
    """Run a candidate in a forked process."""
    request = candidate.event()
    reading, writing = os.pipe()
    if not (child := os.fork()):
        _run(invoke, request, writing)
    os.close(writing)
    with open(reading, "rb") as result:  # noqa: PTH123 - a pipe
        cost = Cost(**json.loads(result.read()))
    os.waitpid(child, 0)
    return cost


def _run(invoke: Invoke, request: dict[str, Any], writing: int) -> None:
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak (proc(5))
    before = _cpu()
    response = invoke(request, context())
    cpu = _cpu() - before
    (peak,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    result = {"cpu": cpu, "megabytes": int(peak.split()[1]) / 1024, "status": response["statusCode"]}
    os.write(writing, json.dumps(result).encode())
    os._exit(0)


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def climb(
    invoke: Invoke, objective: Callable[[Cost], float], seconds: float, chance: random.Random
) -> tuple[Candidate, Cost]:
    """Return the worst candidate found in `seconds`, starting from KNOWN."""
    until = time.monotonic() + seconds
    scored = [(candidate, measure(invoke, candidate)) for candidate in KNOWN]
    worst, cost = max(scored, key=lambda each: objective(each[1]))
    while time.monotonic() < until:
        candidate = Candidate.drawn(chance) if chance.random() < 0.2 else worst.mutated(chance)
        tried = measure(invoke, candidate)
        if objective(tried) > objective(cost):
            worst, cost = candidate, tried
    return worst, cost


def _serve(mode: str) -> Invoke:
    """Load the function with the settings of a mode and FreeSession."""
    os.environ |= {"AUTH_MODE": "none", **MODES[mode]}
    from handler.main import catalog, lambda_handler

    assert catalog is not None
    catalog.default._runs._session = FreeSession(catalog.default.manifest.dimensions)
    return lambda_handler


def search(mode: str, seconds: float) -> Iterator[tuple[str, Candidate, Cost]]:
    """Yield the worst candidates of a mode for CPU and for memory, searched in this process."""
    lambda_handler = _serve(mode)
    chance = random.Random(SEED)
    for name, objective in (("CPU", lambda cost: cost.cpu), ("memory", lambda cost: cost.megabytes)):
        yield name, *climb(lambda_handler, objective, seconds, chance)


def soak(requests: int) -> float:
    """Send the requests of SOAK in turn, most of them with new words; return the growth of memory in MB."""
    lambda_handler, resident = _serve(DEFAULT_MODE), []
    for number, candidate in zip(range(requests), cycle(SOAK)):
        lambda_handler(candidate.event(number * 1_000), context())
        if number > requests // 3:  # the word cache has reached its size
            resident.append(int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize())
    return (resident[-1] - min(resident)) / 1e6


def emulate(mode: str, worst: list[Candidate]) -> Iterator[tuple[int, float, float]]:
    """Yield status, seconds and peak memory in MB of each candidate with real inference, under Lambda's emulator."""
    with tempfile.TemporaryDirectory() as folder:
        settings = {"AUTH_MODE": "none", "AWS_LAMBDA_FUNCTION_TIMEOUT": "29", **MODES[mode]}
        for candidate in worst:
            with emulator.run(None, Path(folder) / "log", **settings) as function:
                started = time.monotonic()
                response = function.invoke(candidate.event())
                seconds = time.monotonic() - started
                status = Path(f"/proc/{function.runtime_pid}/status").read_text()
                peak = int(status.partition("VmHWM:")[2].split()[0]) / 1024
                yield response.get("statusCode", 0), seconds, peak


def main() -> None:
    """Search each mode and print its worst candidates; fail if the default mode exceeds its budget."""
    parser = argparse.ArgumentParser(description="Search for the request that takes the most CPU and memory.")
    parser.add_argument("--seconds", type=float, default=60, help="per search; each mode has two")
    parser.add_argument(
        "--soak", type=int, metavar="REQUESTS", help="send this many requests in a row and print the growth of memory"
    )
    parser.add_argument("--mode", choices=MODES, help=argparse.SUPPRESS)  # the process that searches one mode
    arguments = parser.parse_args()
    if arguments.mode:
        for name, candidate, cost in search(arguments.mode, arguments.seconds):
            print(json.dumps([name, asdict(candidate), asdict(cost)]), flush=True)
        return
    if arguments.soak:
        print(f"{arguments.soak:,} expensive requests in a row: {soak(arguments.soak):+.1f} MB after the first third")
        return
    exceeded = False
    for mode in MODES:
        print(f"\nLONG_INPUT, TOKEN_INPUT: {mode}", flush=True)
        command = [sys.executable, "-m", "benchmarks.worst", "--mode", mode, "--seconds", str(arguments.seconds)]
        lines = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
        found = [(name, Candidate(**candidate), Cost(**cost)) for name, candidate, cost in map(json.loads, lines)]
        real = emulate(mode, [candidate for _, candidate, _ in found])
        for (name, candidate, cost), (status, seconds, peak) in zip(found, real, strict=True):
            print(f"  most {name}: {cost.cpu:.2f} s of CPU outside inference, {cost.megabytes:.0f} MB, {cost.status}")
            print(f"    {candidate}")
            print(f"    under the emulator: {seconds:.1f} s, {peak:.0f} MB, {status}", flush=True)
            budget = cost.cpu <= MAX_CPU_SECONDS and max(cost.megabytes, peak) <= MAX_MEGABYTES
            exceeded |= not status or (mode == DEFAULT_MODE and not budget)
    if exceeded:
        sys.exit(f"more than {MAX_CPU_SECONDS:g} s or {MAX_MEGABYTES:g} MB at default settings, or no response")


if __name__ == "__main__":
    main()
