"""What a request leaves behind: an id, one line of log and metrics, and never a bare crash."""

import logging
import os
import re
import sys
import time
import traceback
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from handler.errors import STATUS, UNEXPECTED, ErrorBody, ErrorFormat, RequestError, ServiceError, describe

NAMESPACE = "ServerlessEmbeddings"
REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")  # it becomes a header

logger = logging.getLogger("handler")


def log_failure(error: ServiceError) -> None:
    """Say why something cannot be served, and what helps."""
    logger.error("serverless-embeddings cannot serve: %s", error)


def server_timing(seconds: Mapping[str, float]) -> str:
    """Format stage timings as a Server-Timing header (www.w3.org/TR/server-timing), in milliseconds."""
    return ", ".join(f"{stage};dur={duration * 1000:.2f}" for stage, duration in seconds.items())


def process_age() -> float:
    """Return the seconds since this process began, on Linux (proc_pid_stat(5): field 22, clock ticks since boot)."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    return time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / os.sysconf("SC_CLK_TCK")


@dataclass(slots=True)
class Record:
    """What is known of a request, filled in on its way; never its texts, its headers or its key.

    request_id   API Gateway's, else Lambda's, else a new one
    caller       the name of the API key
    error        the code of the error that was answered
    model        the id of the model that embedded
    inputs       how many texts were embedded
    tokens       how many tokens the model read
    long_inputs  how many texts were truncated or read in windows
    timings      seconds by stage
    """

    request_id: str
    caller: str | None = None
    error: str | None = None
    model: str | None = None
    inputs: int = 0
    tokens: int = 0
    long_inputs: int = 0
    timings: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Telemetry:
    """The log and the metrics on Lambda: every line is one JSON object.

    Metrics are in CloudWatch's embedded metric format: a line holds the numbers, and as properties what else is known,
    so that a request costs one line. `service` is the function's name, a dimension of every metric.
    """

    service: str

    def format_log(self) -> None:
        """Make JSON of whatever any library logs, in Powertools' format, and of Python's warnings."""
        from aws_lambda_powertools.logging.formatter import LambdaPowertoolsFormatter  # on Lambda only

        handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(LambdaPowertoolsFormatter(service=self.service))
        logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
        logging.captureWarnings(capture=True)

    def started(self, seconds: float, loading: Mapping[str, float]) -> None:
        """Count a cold start: how long it took in all, and the phases of loading the default model."""
        phases = {
            "ColdStartImport": seconds - sum(loading.values()),
            "ColdStartArtifacts": loading["artifacts"],
            "ColdStartSession": loading["session"],
            "ColdStartFirstRun": loading["first-run"],
        }
        self._emit({"ColdStarts": 1}, milliseconds={phase: phases[phase] * 1000 for phase in phases})

    def failed_to_start(self, error: ServiceError) -> None:
        """Count what cannot be served, settings or a model, and say why."""
        log_failure(error)
        self._emit({"FailedStarts": 1})

    def answered(self, record: Record, status: int, seconds: float) -> None:
        """Count a request and what it embedded, by the name of its key; count its error, by code."""
        counts = {"Requests": 1, "Inputs": record.inputs, "Tokens": record.tokens}
        by: dict[str, str] = {}
        if record.long_inputs:
            counts["LongInputs"] = record.long_inputs
        if record.caller:
            by["key"] = record.caller
        if record.error:
            counts["Errors"] = 1
            by["code"] = record.error
        self._emit(
            counts,
            by=by,
            request_id=record.request_id,
            status=status,
            model=record.model,
            milliseconds_by_stage={stage: round(each * 1000, 2) for stage, each in record.timings.items()},
            milliseconds_in_all=round(seconds * 1000, 2),
        )

    def _emit(
        self,
        counts: Mapping[str, int],
        *,
        milliseconds: Mapping[str, float] | None = None,
        by: Mapping[str, str] | None = None,
        **properties: object,
    ) -> None:
        from aws_lambda_powertools.metrics import EphemeralMetrics, MetricUnit  # on Lambda only

        metrics = EphemeralMetrics(namespace=NAMESPACE, service=self.service)
        for name, count in counts.items():
            metrics.add_metric(name, MetricUnit.Count, count)
        for name, duration in (milliseconds or {}).items():
            metrics.add_metric(name, MetricUnit.Milliseconds, round(duration, 1))
        for dimension, of in (by or {}).items():
            metrics.add_dimensions(service=self.service, **{dimension: of})
        for name, known in properties.items():
            metrics.add_metadata(name, known)
        metrics.flush_metrics()


class Observe:
    """ASGI middleware, the outermost: x-request-id on every response, a Record for those further in, and its line."""

    def __init__(self, app: ASGIApp, telemetry: Telemetry | None) -> None:
        self.app = app
        self.telemetry = telemetry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application with a record."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, status, record = time.perf_counter(), 0, Record(_request_id(scope))

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["x-request-id"] = record.request_id
            await send(message)

        try:
            await self.app({**scope, "record": record}, receive, send_with_id)
        finally:
            if self.telemetry:
                self.telemetry.answered(record, status, time.perf_counter() - started)


class LastResort:
    """ASGI middleware: the error envelope for whatever nobody expected."""

    def __init__(self, app: ASGIApp, error_format: ErrorFormat) -> None:
        self.app = app
        self.error_format = error_format

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application; answer 500 if it raises before it has answered."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        answered = False

        async def send_and_note(message: Message) -> None:
            nonlocal answered
            answered = True
            await send(message)

        try:
            await self.app(scope, receive, send_and_note)
        except ClientDisconnect:
            return  # half a request, and nobody there to be answered
        except Exception as error:
            # The same request would fail again: OpenAI's clients retry a 500 unless told not to.
            response = refusal(scope, 500, UNEXPECTED, self.error_format, {"x-should-retry": "false"})
            request_id, kind = scope["record"].request_id, type(error).__name__
            # Not `exception`, which logs the message too: it may quote the text that was to be embedded.
            logger.error("request %s failed: %s at %s", request_id, kind, _frames(error))  # noqa: TRY400 - as above
            if answered:
                raise
            await response(scope, receive, send)


def refuse(
    scope: Scope, error: RequestError, error_format: ErrorFormat, headers: Mapping[str, str] | None = None
) -> Response:
    """Return the answer to a request that cannot be served as it is."""
    return refusal(scope, STATUS[type(error)], describe(error), error_format, headers)


def refusal(
    scope: Scope, status: int, body: ErrorBody, error_format: ErrorFormat, headers: Mapping[str, str] | None = None
) -> Response:
    """Return an error's response, and note its code in the request's record."""
    scope["record"].error = body.code or "invalid_request"
    return Response(body.encode(error_format), status, headers, media_type="application/json")


def _frames(error: Exception) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return ", ".join(f"{frame.filename}:{frame.lineno} {frame.name}" for frame in reversed(frames))


def gateway_context(scope: Scope) -> Mapping[str, Any]:
    """Return what the gateway says of a request; nothing where there is none, or an event only looks like one's."""
    event = scope.get("aws.event")
    context = event.get("requestContext") if isinstance(event, dict) else None
    return context if isinstance(context, dict) else {}


def _request_id(scope: Scope) -> str:
    """Return the gateway's own id, so that a response leads to its log lines, or a new one elsewhere."""
    gateway, context = gateway_context(scope).get("requestId"), scope.get("aws.context")
    if isinstance(gateway, str) and REQUEST_ID.fullmatch(gateway):
        return gateway
    return context.aws_request_id if context else str(uuid.uuid4())
