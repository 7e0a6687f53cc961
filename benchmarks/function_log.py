"""The log of a deployed function, read from CloudWatch: cold starts by phase, and the durations of requests."""

import json
import time
from collections import defaultdict
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.cold import PHASES
from benchmarks.report.deployment import FunctionConfiguration

WAIT_SECONDS, POLL_SECONDS = 120, 3  # CloudWatch shows a line some seconds after it was written


@dataclass(frozen=True, slots=True)
class FunctionLog:
    """What a function has logged.

    function  its name
    phases    milliseconds of every cold start, by phase
    requests  milliseconds of a request in the function, by request ID
    """

    function: str
    phases: dict[str, list[float]]
    requests: dict[str, float]


def wait_for(logs: Any, stack: str, since: float, request_ids: Collection[str]) -> FunctionLog:
    """Read the log of a stack's function since a time, in seconds since the epoch, once it has these requests.

    `logs` is boto3's client of CloudWatch Logs.

    Raises:
        TimeoutError: WAIT_SECONDS have passed.
    """
    group, deadline = f"/serverless-embeddings/{stack}/function", time.monotonic() + WAIT_SECONDS
    while True:
        log = _read(logs, group, since)
        missing = set(request_ids) - log.requests.keys()
        if not missing:
            return log
        if time.monotonic() > deadline:
            raise TimeoutError(
                f"{len(missing)} of {len(request_ids)} requests are not in {group}: check that URL and STACK belong "
                "together, and this machine's clock"
            )
        time.sleep(POLL_SECONDS)


def _read(logs: Any, group: str, since: float) -> FunctionLog:
    function = ""
    phases: dict[str, list[float]] = defaultdict(list)
    requests: dict[str, float] = {}
    for line in _lines(logs, group, since):
        function = line.get("service", function)
        if "request_id" in line:
            requests[line["request_id"]] = line["duration_ms"]
        if "ColdStarts" in line:
            for phase in PHASES:
                phases[phase].append(float(np.squeeze(line[f"ColdStart{phase}"])))  # a metric is a list
    return FunctionLog(function, phases, requests)


def _lines(logs: Any, group: str, since: float) -> Iterator[dict[str, Any]]:
    """Yield the lines that are JSON objects; Lambda writes others among them."""
    pages = logs.get_paginator("filter_log_events").paginate(logGroupName=group, startTime=int(since * 1000))
    for event in (event for page in pages for event in page["events"]):
        with suppress(ValueError):
            line = json.loads(event["message"])
            if isinstance(line, dict):
                yield line


def configuration(functions: Any, name: str) -> FunctionConfiguration:
    """Return the configuration of a function; `functions` is boto3's client of Lambda."""
    found = functions.get_function_configuration(FunctionName=name)
    return FunctionConfiguration(found["Architectures"][0], found["MemorySize"])
