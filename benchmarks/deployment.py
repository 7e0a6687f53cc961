"""A deployment, measured over HTTP: cold starts, warm latency, throughput and the price of a million tokens.

make bench-lambda URL=https://.../v1 KEY=sk-... STACK=embeddings

With STACK and credentials for its account, phases of cold starts and prices are read from the function's log, and the
README's table is written. Without, the part that shows over HTTP is printed. Nothing of the deployment is changed: cold
starts happen because more requests arrive together than environments are warm.
"""

import argparse
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from threading import Lock

import boto3
import httpx2
from botocore.exceptions import BotoCoreError, ClientError

from benchmarks import function_log
from benchmarks.function_log import FunctionLog
from benchmarks.report import cost, readme
from benchmarks.report.deployment import DeploymentResults, FunctionConfiguration, FunctionPrices, Latency, Throughput
from benchmarks.texts import Texts
from tests.deploy.client import Deployment, connect, explain

BURST = 10  # concurrent requests, the limit of a new account
WARM_REQUESTS = 200
CONCURRENCIES = (1, 4, BURST)
CONCURRENCY_SECONDS = 10.0
BATCH = 256


@dataclass(frozen=True, slots=True)
class Sample:
    """One request.

    request_id  as in the function's log
    texts       number of texts in the request
    tokens      number of tokens that the model read; 0 if the request was refused, for example by throttling
    seconds     from the request to the end of the response
    cold        whether the response reports a load of the model
    """

    request_id: str
    texts: int
    tokens: int
    seconds: float
    cold: bool


@dataclass(frozen=True, slots=True)
class Samples:
    """The requests of a run.

    burst        BURST concurrent requests with one text
    warm         requests with one text, one after the other
    batches      requests with BATCH texts
    throughputs  of the batches, by concurrency
    """

    burst: list[Sample]
    warm: list[Sample]
    batches: list[Sample]
    throughputs: list[Throughput]


class Subject:
    """A deployment, and the texts that are sent to it."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self._texts, self._lock = Texts(None).distinct(), Lock()
        self.model = next(iter(deployment.models))

    def send(self, texts: int = 1) -> Sample:
        """Request the embeddings of this many texts, none of which was sent before: it would be cached."""
        with self._lock:
            inputs = list(islice(self._texts, texts))
        started = time.perf_counter()
        response = self._deployment.embed(self.model, inputs)
        seconds = time.perf_counter() - started
        tokens = response.json()["usage"]["total_tokens"] if response.is_success else 0
        cold = "artifacts" in response.headers.get("server-timing", "")
        return Sample(response.headers.get("x-request-id", ""), texts, tokens, seconds, cold)

    def burst(self) -> list[Sample]:
        """Send BURST concurrent requests."""
        with ThreadPoolExecutor(BURST) as executor:
            return list(executor.map(self.send, [1] * BURST))

    def load(self, concurrency: int) -> list[Sample]:
        """Keep this many requests with BATCH texts in flight for CONCURRENCY_SECONDS."""
        ends = time.monotonic() + CONCURRENCY_SECONDS

        def work(_: int) -> list[Sample]:
            samples = [self.send(BATCH)]
            while time.monotonic() < ends:
                samples.append(self.send(BATCH))
            return samples

        with ThreadPoolExecutor(concurrency) as executor:
            return [sample for samples in executor.map(work, range(concurrency)) for sample in samples]


def main() -> None:
    """Measure and print the tables; with a stack, write them to the README."""
    parser = argparse.ArgumentParser(description="Measure a deployment.")
    parser.add_argument("--url", required=True, help="the base URL, which ends with /v1")
    parser.add_argument("--key", help="an API key or a JWT")
    parser.add_argument("--stack", help="the name of the stack, to read its function's log")
    arguments, since = parser.parse_args(), time.time()
    with connect(arguments.url, arguments.key) as deployment:
        try:
            table = measure(deployment, arguments.stack, since).table()
        except (httpx2.TransportError, BotoCoreError, ClientError, TimeoutError) as error:
            sys.exit(f"not measured: {explain(error)}")
    print(table)
    if arguments.stack:
        readme.replace(readme.BEGIN_LAMBDA, table)


def measure(deployment: Deployment, stack: str | None, since: float) -> DeploymentResults:
    """Measure a deployment; if a stack is named, read its function's log since a time in seconds since the epoch.

    Raises:
        httpx2.TransportError: the deployment does not respond any more.
        BotoCoreError, ClientError: the function's log or its configuration cannot be read.
        TimeoutError: the requests do not appear in that log.
    """
    if stack:
        function_log.wait_for(boto3.client("logs"), stack, since, ())  # fails before anything is sent
    subject = Subject(deployment)
    samples = _send_all(subject)
    cold = [sample for sample in samples.burst if sample.cold]
    if not cold:
        _progress("no cold start: every environment was warm; measure again after ten minutes without requests")
    prices, phases = _read_log(stack, since, samples) if stack else (None, {})
    milliseconds = {
        "cold start, one text": [sample.seconds * 1000 for sample in cold],
        **{f"cold start, {phase}": each for phase, each in phases.items()},
        "warm, one text": [sample.seconds * 1000 for sample in samples.warm if sample.tokens],
    }
    return DeploymentResults(
        date=datetime.now(UTC).date().isoformat(),
        model=subject.model,
        latencies=tuple(Latency.of(what, each) for what, each in milliseconds.items() if each),
        batch=BATCH,
        throughputs=tuple(samples.throughputs),
        prices=prices,
    )


def _send_all(subject: Subject) -> Samples:
    _progress(f"{BURST} concurrent requests")
    burst = subject.burst()
    _progress(f"{WARM_REQUESTS} requests one after the other")
    samples = Samples(burst, [subject.send() for _ in range(WARM_REQUESTS)], [], [])
    for concurrency in CONCURRENCIES:
        _progress(f"{CONCURRENCY_SECONDS:g} seconds of {concurrency} concurrent requests with {BATCH} texts")
        started = time.perf_counter()
        batches = subject.load(concurrency)
        served = sum(sample.texts for sample in batches if sample.tokens)
        refused = sum(sample.tokens == 0 for sample in batches)
        samples.throughputs.append(Throughput(concurrency, served / (time.perf_counter() - started), refused))
        samples.batches.extend(batches)
    return samples


def _read_log(stack: str, since: float, samples: Samples) -> tuple[FunctionPrices, dict[str, list[float]]]:
    """Return the prices of the warm requests and of the batches, and the milliseconds of cold starts by phase."""
    _progress("the function's log in CloudWatch")
    served = {
        texts: [sample for sample in each if sample.tokens and not sample.cold]
        for texts, each in ((1, samples.warm), (BATCH, samples.batches))
    }
    request_ids = {sample.request_id for each in served.values() for sample in each}
    log = function_log.wait_for(boto3.client("logs"), stack, since, request_ids)
    function = function_log.configuration(boto3.client("lambda"), log.function)
    dollars = {texts: _dollars(each, log, function) for texts, each in served.items() if each}
    return FunctionPrices(function, dollars), log.phases


def _dollars(samples: list[Sample], log: FunctionLog, function: FunctionConfiguration) -> float:
    """Return the dollars per million tokens of these requests."""
    memory_gb, requests = function.memory_mb / 1024, log.requests
    each = [cost.request(function.architecture, memory_gb, requests[sample.request_id]) for sample in samples]
    return 1_000_000 * sum(each) / sum(sample.tokens for sample in samples)


def _progress(what: str) -> None:
    print(what, file=sys.stderr)


if __name__ == "__main__":
    main()
