"""The results of `make bench-lambda`: frozen records, and the README's table of them."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Latency:
    """Percentiles of a number of durations, in milliseconds."""

    what: str
    count: int
    p50: float
    p99: float

    @classmethod
    def of(cls, what: str, milliseconds: list[float]) -> "Latency":
        """Return the percentiles of durations, of which there is at least one."""
        p50, p99 = np.percentile(milliseconds, (50, 99))
        return cls(what, len(milliseconds), float(p50), float(p99))


@dataclass(frozen=True, slots=True)
class Throughput:
    """Texts per second with a number of requests in flight, and how many of the requests were refused."""

    concurrency: int
    texts_per_second: float
    refused: int


@dataclass(frozen=True, slots=True)
class FunctionConfiguration:
    """What a function's price depends on."""

    architecture: str
    memory_mb: int


@dataclass(frozen=True, slots=True)
class FunctionPrices:
    """Dollars per million tokens on a function, by the number of texts in a request."""

    function: FunctionConfiguration
    dollars: dict[int, float]


@dataclass(frozen=True, slots=True)
class DeploymentResults:
    """One run.

    model      the ID of the model
    latencies  of requests with one text, and of the phases of cold starts
    batch      number of texts in the requests behind `throughputs`
    prices     None if the function's log was not read
    """

    date: str
    model: str
    latencies: tuple[Latency, ...]
    batch: int
    throughputs: tuple[Throughput, ...]
    prices: FunctionPrices | None

    def table(self) -> str:
        """Return the results as Markdown."""
        parts = [self._context(), self._latency_table(), self._throughput_table()]
        return "\n\n".join(parts + ([_price_table(self.prices)] if self.prices else []))

    def _context(self) -> str:
        function = self.prices and self.prices.function
        where = f"Lambda with {function.memory_mb} MB, {function.architecture}" if function else "a service"
        return (
            f"`make bench-lambda`, {self.date}: {self.model} on {where}. Phases of cold starts are as the "
            "function logs them; the other times include the network."
        )

    def _latency_table(self) -> str:
        rows = [f"| {each.what} | {each.count} | {each.p50:.1f} | {each.p99:.1f} |" for each in self.latencies]
        return "\n".join(["| milliseconds | requests | p50 | p99 |", "|---|---|---|---|", *rows])

    def _throughput_table(self) -> str:
        columns = [
            (f"concurrent requests, {self.batch} texts each", "texts per second", "requests refused"),
            *((str(each.concurrency), f"{each.texts_per_second:.0f}", str(each.refused)) for each in self.throughputs),
        ]
        head, *rows = ("| " + " | ".join(row) + " |" for row in zip(*columns, strict=True))
        return "\n".join([head, "|---" * len(columns) + "|", *rows])


def _price_table(prices: FunctionPrices) -> str:
    terms = (
        "Prices are for the durations that the function logs, rounded up to a millisecond, and for the invocations, at "
        "the list prices of us-east-1; API Gateway and logs are not in them."
    )
    rows = [f"| {texts} | {dollars:.4f} |" for texts, dollars in prices.dollars.items()]
    return "\n".join([terms, "", "| texts per request | dollars per million tokens |", "|---|---|", *rows])
