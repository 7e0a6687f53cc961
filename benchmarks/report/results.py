"""The results of `make bench`: frozen records, stored in benchmarks/report/results.json."""

import json
import os
import platform
import re
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

PATH = Path(__file__).with_name("results.json")
PACKAGES = ("onnxruntime", "tokenizers", "numpy", "fastapi", "mangum")


@dataclass(frozen=True, slots=True)
class Claim:
    """A figure and its target.

    sense   whether the target is a minimum (≥) or a maximum (≤)
    target  None for a figure that is reported without a target
    detail  the two figures behind a ratio, or what was measured
    """

    what: str
    value: float
    unit: str
    sense: Literal["≥", "≤"]
    target: float | None
    detail: str

    @property
    def met(self) -> bool:
        """Whether the figure meets its target; always true without one."""
        return self.target is None or (self.value >= self.target if self.sense == "≥" else self.value <= self.target)

    @property
    def figure(self) -> str:
        """The figure, formatted with its unit."""
        return f"{self.value:.{0 if self.value >= 20 else 2}f}{self.unit}"

    @property
    def limit(self) -> str:
        """The target, formatted with its sense and unit; empty without one."""
        return "" if self.target is None else f"{self.sense} {self.target:g}{self.unit}"


@dataclass(frozen=True, slots=True)
class RequestSize:
    """Texts per second over HTTP in requests of this many texts, and the service's peak memory up to that size."""

    texts: int
    texts_per_second: float
    peak_mb: float


@dataclass(frozen=True, slots=True)
class Price:
    """Dollars per million tokens on one architecture.

    tokens  per text
    texts   per request
    """

    architecture: str
    tokens: float
    texts: int
    dollars: float


@dataclass(frozen=True, slots=True)
class Machine:
    """The machine that measured; `load` is its five-minute load average before the run."""

    processor: str
    cores: int
    system: str
    python: str
    packages: dict[str, str]
    load: float

    @classmethod
    def here(cls) -> "Machine":
        """Describe this machine."""
        processor = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
        return cls(
            processor=processor[1] if processor else platform.machine(),
            cores=len(os.sched_getaffinity(0)),
            system=f"{platform.system()} {platform.machine()}",
            python=platform.python_version(),
            packages={name: version(name) for name in PACKAGES},
            load=os.getloadavg()[1],
        )


@dataclass(frozen=True, slots=True)
class Results:
    """One run of the suite.

    texts     describes the sentences that were embedded
    rates     texts per second in process, by embedder
    lengths   the same by embedder, then by tokens per text
    requests  our service over HTTP, by request size
    cold_ms   median cold start, by implementation
    figures   measurements without a target, by name and unit
    """

    date: str
    texts: str
    machine: Machine
    claims: tuple[Claim, ...]
    rates: dict[str, float]
    lengths: dict[str, dict[int, float]]
    requests: tuple[RequestSize, ...]
    cold_ms: dict[str, float]
    prices: tuple[Price, ...]
    figures: dict[str, float]

    def write(self) -> None:
        """Write the file with four significant digits; more would be noise."""
        PATH.write_text(json.dumps(_rounded(asdict(self)), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    @classmethod
    def read(cls) -> "Results":
        """Read the file."""
        content = json.loads(PATH.read_text(encoding="utf-8"))
        return cls(
            date=content["date"],
            texts=content["texts"],
            machine=Machine(**content["machine"]),
            claims=tuple(Claim(**each) for each in content["claims"]),
            rates=content["rates"],
            lengths={
                name: {int(tokens): rate for tokens, rate in rates.items()}
                for name, rates in content["lengths"].items()
            },
            requests=tuple(RequestSize(**each) for each in content["requests"]),
            cold_ms=content["cold_ms"],
            prices=tuple(Price(**each) for each in content["prices"]),
            figures=content["figures"],
        )


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(each) for each in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value
