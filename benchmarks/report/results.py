"""The results of `make bench` by processor: frozen records, stored in benchmarks/report/results/."""

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from benchmarks.report.machine import Machine

FOLDER = Path(__file__).with_name("results")
SENTENCES = "sentences"


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
class Rate:
    """The pace of an embedder.

    wall   texts per second by the clock, with all cores
    cpu    texts per second of processor time, of all its threads; None in results that lack it
    ratio  our pace to it, per second of processor time, or by the clock without `cpu`: the median of the rounds' ratios
    """

    wall: float
    cpu: float | None
    ratio: float


@dataclass(frozen=True, slots=True)
class Speed:
    """An embedder at one setting.

    best   whether it is the best of the searched settings, and not a peer's default
    rates  of the sentences, and of texts by their number of tokens
    """

    name: str
    setting: str
    best: bool
    rates: dict[str, Rate]


@dataclass(frozen=True, slots=True)
class Quality:
    """The vectors of an embedder.

    cosine    mean cosine of the sentences' vectors with those at full precision
    spearman  correlation of cosines with human scores; None without the scores
    depends   whether a bit of a text's vector depends on the texts that are embedded with it
    """

    name: str
    cosine: float
    spearman: float | None
    depends: bool


@dataclass(frozen=True, slots=True)
class RequestSize:
    """Texts per second over HTTP in requests of this many texts, and the service's peak memory up to that size."""

    texts: int
    texts_per_second: float
    peak_mb: float


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the suite: when it ran, at what load, and what it claims."""

    date: str
    load: float
    claims: tuple[Claim, ...] = ()


@dataclass(frozen=True, slots=True)
class Results:
    """The results of one processor; a section that has not run has left its fields empty.

    texts      describes the sentences that were embedded
    tokens     mean tokens of a sentence: of this model (special tokens included), and OpenAI's
    limits     our time relative to the int8 products of a run alone, by tokens per text
    paths_ms   a request without the model, by number of texts
    requests   our service over HTTP, by request size
    cold_ms    median cold start, by implementation
    figures    measurements without a target, by name and unit
    """

    machine: Machine
    texts: str = ""
    tokens: tuple[float, float] = (0.0, 0.0)
    sections: dict[str, Section] = field(default_factory=dict)
    speeds: tuple[Speed, ...] = ()
    qualities: tuple[Quality, ...] = ()
    limits: dict[int, float] = field(default_factory=dict)
    paths_ms: dict[int, float] = field(default_factory=dict)
    requests: tuple[RequestSize, ...] = ()
    cold_ms: dict[str, float] = field(default_factory=dict)
    figures: dict[str, float] = field(default_factory=dict)

    def speed(self, name: str, *, best: bool = True) -> Speed | None:
        """Return an embedder at its best setting, or at its default; None if that was not measured."""
        return next((each for each in self.speeds if (each.name, each.best) == (name, best)), None)

    def lengths(self, name: str) -> dict[int, float]:
        """Return an embedder's texts per second by the clock, by tokens per text."""
        found = self.speed(name)
        assert found
        return {int(length): rate.wall for length, rate in found.rates.items() if length != SENTENCES}

    def write(self) -> None:
        """Write the processor's file with four significant digits; more would be noise."""
        FOLDER.mkdir(exist_ok=True)
        content = json.dumps(_rounded(asdict(self)), indent=1, ensure_ascii=False)
        (FOLDER / f"{self.machine.slug}.json").write_text(content + "\n", encoding="utf-8")


def read(path: Path) -> Results:
    """Read the results of one processor."""
    content = json.loads(path.read_text(encoding="utf-8"))
    speeds = [
        each | {"rates": {length: Rate(**rate) for length, rate in each["rates"].items()}} for each in content["speeds"]
    ]
    sections = {
        name: Section(each["date"], each["load"], tuple(Claim(**claim) for claim in each["claims"]))
        for name, each in content["sections"].items()
    }
    return Results(
        machine=Machine(**content["machine"]),
        texts=content["texts"],
        tokens=tuple(content["tokens"]),
        sections=sections,
        speeds=tuple(Speed(**each) for each in speeds),
        qualities=tuple(Quality(**each) for each in content["qualities"]),
        limits={int(tokens): value for tokens, value in content["limits"].items()},
        paths_ms={int(texts): value for texts, value in content["paths_ms"].items()},
        requests=tuple(RequestSize(**each) for each in content["requests"]),
        cold_ms=content["cold_ms"],
        figures=content["figures"],
    )


def of_pace() -> Results:
    """Return the results whose pace bulk jobs are computed with: of the measured processors, the one in the middle."""
    return read(FOLDER / "intel-xeon-amx.json")


def read_all() -> list[Results]:
    """Read the results of every processor: those with the most extensions first."""
    return sorted(map(read, FOLDER.glob("*.json")), key=lambda each: (each.machine.rank, each.machine.slug))


def of_machine(machine: Machine) -> Results:
    """Return the earlier results of this processor with the machine as it is now, or empty ones."""
    path = FOLDER / f"{machine.slug}.json"
    return replace(read(path), machine=machine) if path.exists() else Results(machine)


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(each) for each in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value
