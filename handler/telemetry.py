"""Log lines and CloudWatch metrics: one JSON object per line, one line per request, never a text, header or key."""

import logging
import os
import sys
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import orjson

from handler.errors import ServiceError

NAMESPACE = "ServerlessEmbeddings"

logger = logging.getLogger("handler")


def log_failure(error: ServiceError) -> None:
    """Log why a model, or the service, is unavailable, and the remedy."""
    logger.error("serverless-embeddings cannot serve: %s", error)


def log_unexpected(request_id: str, error: BaseException) -> None:
    """Log an unexpected error by type and place, without its message: it may quote the text that was to be embedded."""
    frames = traceback.extract_tb(error.__traceback__)
    places = ", ".join(f"{frame.filename}:{frame.lineno} {frame.name}" for frame in reversed(frames))
    logger.error("request %s failed: %s at %s", request_id, type(error).__name__, places)


def process_age() -> float:
    """Return the seconds since this process began, on Linux (proc_pid_stat(5): field 22, clock ticks since boot)."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    return time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / os.sysconf("SC_CLK_TCK")


@dataclass(slots=True)
class RequestRecord:
    """What is logged of a request, filled in while it is served; never its texts, headers or key.

    request_id   API Gateway's, else Lambda's, else a new one
    method       the request's method; only the local server shows it, and the path
    path         the request's path, as it was sent
    caller       the name of the API key
    error        the error code of the response
    message      the response's error message; it may quote a name in the request: only the local server shows it
    model        the ID of the model that embedded the inputs
    inputs       number of inputs embedded
    tokens       number of tokens the model read
    long_inputs  number of inputs that were truncated or read in windows
    cached       number of tokens whose vectors came from the cache
    timings      seconds by stage
    """

    request_id: str
    method: str = ""
    path: str = ""
    caller: str | None = None
    error: str | None = None
    message: str | None = None
    model: str | None = None
    inputs: int = 0
    tokens: int = 0
    long_inputs: int = 0
    cached: int = 0
    timings: Mapping[str, float] = field(default_factory=dict)


class BatchStep(NamedTuple):  # a dataclass takes half a millisecond more of a cold start
    """What is logged of a step of a batch: never its texts, or names of files.

    batch    the batch's ID
    caller   the name of the API key that created it
    seconds  how long the step took
    dollars  about what it cost
    result   counts
    """

    name: str
    batch: str
    caller: str | None
    seconds: float
    dollars: float
    result: Mapping[str, Any]


class RequestLog(Protocol):
    """Where finished requests are logged."""

    def log_request(self, record: RequestRecord, status: int, seconds: float) -> None:
        """Log a request; its status is 0 if the client has disconnected."""


@dataclass(frozen=True, slots=True)
class Telemetry:
    """The log and the metrics on Lambda.

    Metrics are in CloudWatch's embedded metric format: a line holds the metrics, and everything else that is known as
    properties, so a request needs only one line.

    service   the function's name, a dimension of every metric
    version   the function's version, a dimension of requests that end in a 5xx
    metrics   whether CloudWatch reads the lines as metrics, which it bills for
    """

    service: str
    version: str
    metrics: bool = True

    def configure_logging(self) -> None:
        """Log everything, other libraries' lines and Python's warnings too, as JSON in Powertools' format."""
        from aws_lambda_powertools.logging.formatter import LambdaPowertoolsFormatter  # on Lambda only

        handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(LambdaPowertoolsFormatter(service=self.service))
        logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
        logging.captureWarnings(capture=True)

    def log_cold_start(self, seconds: float, load_timings: Mapping[str, float]) -> None:
        """Count a cold start, with its total duration and the phases of loading the default model."""
        phases = {
            "ColdStartImport": seconds - sum(load_timings.values()),
            "ColdStartArtifacts": load_timings["artifacts"],
            "ColdStartSession": load_timings["session"],
            "ColdStartFirstRun": load_timings["first-run"],
        }
        self._emit({"ColdStarts": 1}, milliseconds={phase: round(phases[phase] * 1000, 1) for phase in phases})

    def log_load_failure(self, error: ServiceError) -> None:
        """Count and log a failure that makes a model, or the whole service, unavailable."""
        log_failure(error)
        self._emit({"ModelLoadFailures": 1})

    def log_request(self, record: RequestRecord, status: int, seconds: float) -> None:
        """Count a request and what it embedded, by key name, its error by code, and a 5xx by version as well."""
        counts = {"Requests": 1, "Inputs": record.inputs, "Tokens": record.tokens}
        dimensions: dict[str, str] = {}
        if record.long_inputs:
            counts["LongInputs"] = record.long_inputs
        if record.cached:
            counts["CachedTokens"] = record.cached
        if record.caller:
            dimensions["key"] = record.caller
        if record.error:
            counts["Errors"] = 1
            dimensions["error_code"] = record.error
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            counts["ServerErrors"] = 1
            dimensions["version"] = self.version
        self._emit(
            counts,
            dimensions=dimensions,
            request_id=record.request_id,
            status=status,
            model=record.model,
            stage_ms={stage: round(each * 1000, 2) for stage, each in record.timings.items()},
            duration_ms=round(seconds * 1000, 2),
        )

    def log_step(self, step: str, out: str, seconds: float, result: Mapping[str, Any]) -> None:
        """Log a step of a bulk job with its result, and count the rows and tokens of a shard."""
        counts = {}
        if step == "shard":
            counts = {"Rows": result["rows"], "Rejects": result["rejects"], "Tokens": result["tokens"]}
        self._emit(counts, step=step, out=out, result=result, duration_ms=round(seconds * 1000, 2))

    def log_batch_step(self, step: BatchStep) -> None:
        """Log a step of a batch, and count what a shard did, and the ends of batches, by key name."""
        result, counts = step.result, {}
        if step.name == "shard":
            requests = result["completed"] + result["failed"]
            counts = {"BatchRequests": requests, "BatchErrors": result["failed"], "Tokens": result["tokens"]}
        elif step.name == "end" and result:
            counts = {"Batches": 1}
        self._emit(
            counts,
            dimensions={"key": step.caller} if step.caller else {},
            step=step.name,
            batch=step.batch,
            result=result,
            dollars=round(step.dollars, 9),
            duration_ms=round(step.seconds * 1000, 2),
        )

    def _emit(
        self,
        counts: Mapping[str, int],
        *,
        milliseconds: Mapping[str, float] | None = None,
        dimensions: Mapping[str, str] | None = None,
        **properties: object,
    ) -> None:
        if not (self.metrics and counts):
            _write({"service": self.service, **counts, **(milliseconds or {}), **(dimensions or {}), **properties})
            return
        from aws_lambda_powertools.metrics import EphemeralMetrics, MetricUnit  # on Lambda only

        metrics = EphemeralMetrics(namespace=NAMESPACE, service=self.service)
        for name, count in counts.items():
            metrics.add_metric(name, MetricUnit.Count, count)
        for name, duration in (milliseconds or {}).items():
            metrics.add_metric(name, MetricUnit.Milliseconds, duration)
        for dimension, value in (dimensions or {}).items():
            metrics.add_dimensions(service=self.service, **{dimension: value})
        for name, known in properties.items():
            metrics.add_metadata(name, known)
        _write(metrics.serialize_metric_set())


def _write(line: Mapping[str, object]) -> None:
    """Write a line in one call. Powertools' `flush_metrics` makes two, between which another thread's could come."""
    sys.stdout.write(f"{orjson.dumps(line).decode()}\n")
