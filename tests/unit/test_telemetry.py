import json
import logging
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import chain
from types import SimpleNamespace
from typing import Any

import pytest
from mangum import Mangum
from mangum.types import ASGI

from handler.api.app import create_app, unavailable
from handler.api.keys import digest_of
from handler.errors import SettingsError
from handler.models.catalog import Catalog
from handler.settings import Settings
from handler.telemetry import NAMESPACE, BatchStep, RequestRecord, Telemetry, process_age
from tests import tiny
from tests.events import content, context, event

TELEMETRY = Telemetry("function", "7")
MARKER, KEY, WRONG_KEY = "xyzzymarker", "sk-plughmarker-of-the-log", "sk-wrongplughmarker-of-the-log"


@pytest.fixture
def logging_restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    logging.captureWarnings(capture=False)
    root.handlers, root.level = handlers, level


def log_lines(capsys) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def metrics(line: dict[str, Any]) -> dict[str, float]:
    """Return the metrics that CloudWatch extracts from a line: values by name."""
    (directive,) = line["_aws"]["CloudWatchMetrics"]
    assert directive["Namespace"] == NAMESPACE
    assert line["service"] == "function"
    for metric in directive["Metrics"]:
        is_phase = metric["Name"].startswith("ColdStart") and metric["Name"] != "ColdStarts"
        assert metric["Unit"] == ("Milliseconds" if is_phase else "Count")
    return {metric["Name"]: line[metric["Name"]][0] for metric in directive["Metrics"]}


def dimensions(line: dict[str, Any]) -> list[list[str]]:
    dimension_sets: list[list[str]] = line["_aws"]["CloudWatchMetrics"][0]["Dimensions"]
    assert all(name in line for name in chain(*dimension_sets))
    return dimension_sets


def test_process_age_increases():
    assert 0 < process_age() <= process_age()


def test_process_age_is_counted_from_the_start_of_the_process():
    rename = "from pathlib import Path; Path('/proc/self/comm').write_text('a) b')"  # a name that is hard to skip
    script = f"{rename}; from handler.telemetry import process_age; print(process_age())"
    started = time.monotonic()
    age = float(subprocess.run([sys.executable, "-c", script], check=True, capture_output=True).stdout)
    assert 0 < age < time.monotonic() - started + 0.02  # a clock tick is 0.01


def test_cold_start_line_has_a_metric_for_each_phase(capsys):
    TELEMETRY.log_cold_start(0.35, {"artifacts": 0.02514, "session": 0.07, "first-run": 0.005})
    (line,) = log_lines(capsys)
    phases = {"ColdStartArtifacts": 25.1, "ColdStartSession": 70, "ColdStartFirstRun": 5}
    assert metrics(line) == {"ColdStarts": 1, "ColdStartImport": 249.9, **phases}
    assert dimensions(line) == [["service"]]


def test_lines_of_threads_are_never_torn_because_each_is_one_write(monkeypatch):
    written: list[str] = []
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(write=written.append, flush=lambda: None))
    for telemetry in (TELEMETRY, replace(TELEMETRY, metrics=False)):
        telemetry.log_request(RequestRecord("id"), 200, 0.001)
    assert [json.loads(line)["request_id"] for line in written] == ["id", "id"]
    assert all(line.endswith("\n") for line in written)


def test_request_line_has_metrics_by_the_name_of_the_key(capsys):
    record = RequestRecord(
        "id", caller="alice", model="tiny", inputs=2, tokens=9, long_inputs=1, cached=2, timings={"infer": 0.012346}
    )
    TELEMETRY.log_request(record, 200, 0.020126)
    (line,) = log_lines(capsys)
    assert metrics(line) == {"Requests": 1, "Inputs": 2, "Tokens": 9, "LongInputs": 1, "CachedTokens": 2}
    assert dimensions(line) == [["service"], ["service", "key"]]
    assert (line["key"], line["request_id"], line["status"], line["model"]) == ("alice", "id", 200, "tiny")
    assert (line["stage_ms"], line["duration_ms"]) == ({"infer": 12.35}, 20.13)


def test_error_line_has_metrics_by_error_code(capsys):
    TELEMETRY.log_request(RequestRecord("id", error="empty_input"), 400, 0.001)
    (line,) = log_lines(capsys)
    assert metrics(line) == {"Requests": 1, "Inputs": 0, "Tokens": 0, "Errors": 1}
    assert dimensions(line) == [["service"], ["service", "error_code"]]
    assert line["error_code"] == "empty_input"


@pytest.mark.parametrize("status", [500, 503])
def test_5xx_line_has_metrics_by_version(capsys, status):
    TELEMETRY.log_request(RequestRecord("id", error="unavailable"), status, 0.001)
    (line,) = log_lines(capsys)
    assert metrics(line)["ServerErrors"] == 1
    assert ["service", "version"] in dimensions(line)
    assert (line["service"], line["version"]) == ("function", "7")


def test_lines_without_metrics_have_the_same_fields(capsys):
    record = RequestRecord("id", caller="alice", error="unavailable", model="tiny", tokens=9, timings={"infer": 0.0123})
    for telemetry in (TELEMETRY, replace(TELEMETRY, metrics=False)):
        telemetry.log_request(record, 503, 0.02)
        telemetry.log_cold_start(0.35, {"artifacts": 0.025, "session": 0.07, "first-run": 0.005})
    *measured, request, cold_start = log_lines(capsys)
    for line, same in zip((request, cold_start), measured, strict=True):
        del same["_aws"]
        assert line == {name: value[0] if isinstance(value, list) else value for name, value in same.items()}


def test_only_the_shards_of_a_bulk_job_are_counted(capsys):
    TELEMETRY.log_step("shard", "s3://bucket/out", 1.5, {"number": 7, "rows": 3, "rejects": 1, "tokens": 9})
    TELEMETRY.log_step("group", "s3://bucket/out", 0.25, {"parts": 2})
    shard, group = log_lines(capsys)
    assert metrics(shard) == {"Rows": 3, "Rejects": 1, "Tokens": 9}
    assert dimensions(shard) == [["service"]]
    assert (shard["step"], shard["out"], shard["result"]["number"]) == ("shard", "s3://bucket/out", 7)
    assert "_aws" not in group
    assert (group["step"], group["result"], group["duration_ms"]) == ("group", {"parts": 2}, 250)


def test_batches_are_counted_by_key_with_what_they_cost(capsys):
    done = {"number": 7, "completed": 3, "failed": 1, "tokens": 9}
    TELEMETRY.log_batch_step(BatchStep("shard", "batch_1", "alice", 1.5, 0.00012, done))
    TELEMETRY.log_batch_step(BatchStep("end", "batch_1", None, 0.25, 0.00001, {"ending": "completed"}))
    TELEMETRY.log_batch_step(BatchStep("end", "batch_2", None, 0.25, 0.00001, {}))  # it was withdrawn
    shard, end, withdrawn = log_lines(capsys)
    assert metrics(shard) == {"BatchRequests": 4, "BatchErrors": 1, "Tokens": 9}
    assert dimensions(shard) == [["service"], ["service", "key"]]
    assert (shard["key"], shard["batch"], shard["dollars"], shard["duration_ms"]) == ("alice", "batch_1", 0.00012, 1500)
    assert metrics(end) == {"Batches": 1}
    assert dimensions(end) == [["service"]]
    assert "_aws" not in withdrawn


@pytest.mark.usefixtures("logging_restored")
def test_load_failure_is_logged_and_counted_once_and_requests_get_503(capsys):
    TELEMETRY.configure_logging()
    TELEMETRY.log_load_failure(SettingsError("MODELS is empty"))
    error, metric = log_lines(capsys)
    assert (error["level"], error["message"]) == ("ERROR", "serverless-embeddings cannot serve: MODELS is empty")
    assert error["service"] == "function"
    assert metrics(metric) == {"ModelLoadFailures": 1}
    response = post(unavailable(TELEMETRY))
    assert (response["statusCode"], response["headers"]["retry-after"]) == (503, "30")
    assert content(response)["error"]["code"] == "unavailable"
    assert metrics(log_lines(capsys)[0])["Errors"] == 1


@pytest.mark.usefixtures("logging_restored")
def test_library_logs_and_warnings_are_json(monkeypatch, capsys):
    monkeypatch.setattr(logging.getLogger("handler"), "propagate", False)  # threads of other tests may log
    logging.getLogger().setLevel(logging.DEBUG)
    TELEMETRY.configure_logging()
    logging.getLogger("some_library").info("of no interest")
    logging.getLogger("some_library").error("two\nlines")
    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)  # no ResourceWarning of what another test left
        warnings.warn("take care", UserWarning, stacklevel=1)
    error, warning = log_lines(capsys)
    assert error["message"] == "two\nlines"
    assert "take care" in warning["message"]


def post(app: ASGI, body: str | bytes = "{}", key: str = KEY, method: str = "POST") -> dict[str, Any]:
    request_event = event("http-api-2.0", body, method=method, authorization=f"Bearer {key}")
    return Mangum(app, lifespan="off")(request_event, context())


@pytest.mark.usefixtures("logging_restored")
@pytest.mark.parametrize("status", [200, 400, 401, 404, 405, 500, 503])
def test_logs_metrics_and_responses_contain_no_texts_and_no_keys(monkeypatch, capsys, status):
    TELEMETRY.configure_logging()
    settings = Settings(token_input="native", api_keys=(("alice", digest_of(KEY)),))
    embedder = tiny.embedder(settings)
    catalog = Catalog.of([embedder], settings)
    method = "POST"
    text = {"model": "tiny", "input": MARKER, "user": MARKER, "prompt": MARKER}
    bodies: list[Mapping[str, object] | bytes] = [text]
    match status:
        case 400:
            bodies = [
                {**text, "input": value} for value in ([MARKER, ""], [MARKER, 1], {MARKER: MARKER}, [[MARKER]], 1)
            ]
            bodies += [{**text, "input": [MARKER] * 3000}, {**text, "input": f"{MARKER} {'a ' * 9000}"}]
            bodies += [{**text, "encoding_format": "hex"}, {**text, "dimensions": 999}, {"input": MARKER}]
            bodies += [f'{{"input": "{MARKER}", "model"'.encode(), MARKER.encode(), f"[{MARKER!r}]".encode()]
        case 404:
            bodies = [{**text, "model": "another"}]
        case 405:
            method = "DELETE"
        case 500:
            monkeypatch.setattr(embedder._runs, "pool", raise_with_text)
        case 503:
            catalog = Catalog(replace(settings, models=("tiny",)), TELEMETRY.log_load_failure)
    app = create_app(settings, catalog, TELEMETRY)
    for body in bodies:
        payload = body if isinstance(body, bytes) else json.dumps(body)
        response = post(app, payload, WRONG_KEY if status == 401 else KEY, method)
        assert response["statusCode"] == status, response
        visible = json.dumps(response)
        output = capsys.readouterr()
        for line in output.out.splitlines():
            json.loads(line)
        visible += output.out + output.err
        assert '"alice"' in visible or status == 401
        for secret in (MARKER, KEY, WRONG_KEY, digest_of(KEY)):
            assert secret not in visible


def raise_with_text(encodings: object, dimensions: object) -> None:
    raise ValueError(f"cannot embed '{MARKER}': {encodings} {dimensions}")
