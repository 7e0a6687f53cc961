"""What a job will take: rows, tokens, seconds and dollars, on this machine and on AWS, and beside it what it took."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from handler.bulk.merge import PART_BYTES
from handler.bulk.plan import Plan
from handler.bulk.prices import Usage
from handler.bulk.progress import duration
from handler.bulk.sample import measure, sample
from handler.embedding.embedder import Embedder
from handler.storage.entries import Storage

PACKED_VECTORS, PACKED_COLUMNS = 0.92, 0.5  # what zstd makes of a byte
ENVIRONMENTS = 200  # unless the stack has another BulkMaxConcurrency
# Texts per second of one vCPU by tokens per text, of the bundled model: benchmarks/report/results/intel-xeon-amx.json.
REFERENCE_MODEL = "all-MiniLM-L6-v2"
REFERENCE = {8: 1795.0, 16: 866.6, 32: 422.9, 64: 195.2, 128: 91.5, 256: 40.53}


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a job takes.

    seconds   on this machine, with all its cores
    usage     on AWS
    sampled   number of rows that were read
    measured  whether the pace of a vCPU is that of this machine's cores, and not the recorded one
    """

    rows: float
    rejects: float
    tokens: float
    seconds: float
    usage: Usage
    sampled: int
    measured: bool

    def lines(self) -> list[str]:
        """Return what a person reads before the job: this machine and AWS side by side."""
        bill = [
            (f"{item.name}, {item.unit}", "", f"{item.quantity:,.0f} = ${item.dollars:,.4f}")
            for item in self.usage.bill()
        ]
        pace = "as fast as a core of this machine" if self.measured else "as fast as a core of the recorded benchmark"
        counts = f"{self.rows:,.0f} rows, {self.rejects:,.0f} of them rejected, {self.tokens:,.0f} tokens"
        return [
            f"{counts}: as {self.sampled:,} rows suggest",
            *_columns(
                [
                    ("", "this machine", f"AWS, {ENVIRONMENTS:,} environments"),
                    ("time", duration(self.seconds), duration(self.usage.duration(ENVIRONMENTS))),
                    *bill,
                    ("dollars", "0", _dollars(self.usage)),
                ]
            ),
            f"Assumed for AWS: a vCPU is {pace}; list prices of us-east-1; no free tier, storage or logs.",
        ]

    def beside(self, actual: "Actual") -> list[str]:
        """Return what a person reads after the job: estimate and fact side by side."""
        rows = [
            ("", "estimated", "actual"),
            ("rows", f"{self.rows:,.0f}", f"{actual.rows:,}"),
            ("rejected", f"{self.rejects:,.0f}", f"{actual.rejects:,}"),
            ("tokens", f"{self.tokens:,.0f}", f"{actual.tokens:,}"),
        ]
        if actual.usage:
            run = self.usage.duration(ENVIRONMENTS)
            rows += [("time", duration(run), duration(actual.seconds))]
            rows += [("dollars", _dollars(self.usage), _dollars(actual.usage))]
        else:
            rows += [("time", duration(self.seconds), duration(actual.seconds))]
        return _columns(rows)


@dataclass(frozen=True, slots=True)
class Actual:
    """What a job took; `usage` is that of AWS, or None if it ran here."""

    rows: int
    rejects: int
    tokens: int
    seconds: float
    usage: Usage | None


def _dollars(usage: Usage) -> str:
    dollars = usage.dollars()
    return f"{dollars:,.2f}" if dollars >= 1 else f"{dollars:.4f}"


def _columns(rows: Sequence[tuple[str, str, str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join((first.ljust(widths[0]), *(each.rjust(width) for each, width in zip(rest, widths[1:], strict=True))))
        for first, *rest in rows
    ]


def estimate(source: Storage, plan: Plan, embedder: Embedder) -> Estimate:
    """Read a sample and embed some of it, for one or two seconds.

    Raises:
        BulkError: the input cannot be read.
    """
    strata = list(sample(source, plan))
    pace = measure(plan, strata, embedder)
    rows = sum(stratum.weight * (len(stratum.rows) + stratum.rejects) for stratum in strata)
    rejects = sum(stratum.weight * (stratum.rejects + len(stratum.rows) * pace.refused) for stratum in strata)
    lengths = np.array([len(row.text or "") for stratum in strata for row in stratum.rows]) * pace.per_character
    weights = np.array([stratum.weight for stratum in strata for _ in stratum.rows])
    tokens = float(lengths @ weights)
    measured = embedder.manifest.id != REFERENCE_MODEL
    vcpu_seconds = tokens * pace.cpu_seconds if measured else float(reference_seconds(lengths) @ weights)
    packed = sum(stratum.weight * stratum.bytes for stratum in strata) * PACKED_COLUMNS
    packed += (rows - rejects) * plan.options.dimensions * 4 * PACKED_VECTORS
    return Estimate(
        rows=rows,
        rejects=rejects,
        tokens=tokens,
        seconds=tokens * pace.seconds,
        usage=Usage(len(plan.shards), math.ceil(packed / PART_BYTES), vcpu_seconds),
        sampled=sum(len(stratum.rows) + stratum.rejects for stratum in strata),
        measured=measured,
    )


def reference_seconds(tokens: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the seconds of one vCPU for texts of so many tokens, by the recorded pace; long ones have windows."""
    lengths, rates = np.array(list(REFERENCE)), np.array(list(REFERENCE.values()))
    windows = np.maximum(1, tokens / lengths[-1])
    seconds: NDArray[np.float64] = windows * np.interp(tokens / windows, lengths, 1 / rates)
    return seconds
