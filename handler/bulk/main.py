"""Composition root of the bulk function: `lambda_handler` takes one step, as the state machine tells it.

A job has these:

    {"step": "plan", "out": URI}                                          list the shards that are not done
    {"step": "shard", "out": URI, "source": URI, "item": {"number": 3}}   embed a shard
    {"step": "group", "out": URI, "concurrency": 200}                     list the parts that are not done
    {"step": "part", "out": URI, "item": {"number": 0, ...}}              merge shards to a part
    {"step": "finish", "out": URI}                                        check the parts, write the manifest

A batch has two of these steps, and two of its own:

    {"step": "plan", ...}, {"step": "shard", ...}                         validate it; run a shard
    {"step": "end", "out": URI}                                           write its files and its end
    {"step": "report", "out": URI}                                        report the end to WEBHOOK_URL

The state machine goes by the class of an error: a BulkError would occur again, and is not retried.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as in handler/main.py

import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from handler.batches.folder import BatchFolder
from handler.bulk import batch_steps, steps, webhooks
from handler.bulk.merge import Group
from handler.bulk.prices import invocation_dollars
from handler.errors import ArtifactError, BulkError, ServiceError, StorageUnavailableError, UnavailableError
from handler.models.catalog import Catalog
from handler.settings import Settings
from handler.storage.entries import Storage
from handler.storage.uri import open_storage
from handler.telemetry import BatchStep, Telemetry, log_unexpected

# A part of 6 seconds reads its shards with 85 requests; S3 takes 5,500 a second for a prefix (docs/bulk.md).
MAX_CONCURRENT_PARTS = 300
# To say that the time is over, once what is being read has been read: Lambda would only say that it timed out.
RESERVE_SECONDS = 30

settings = Settings.from_env(os.environ)
memory_mb = int(os.environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "1769"))
function, version = (os.environ.get(f"AWS_LAMBDA_FUNCTION_{name}", "bulk") for name in ("NAME", "VERSION"))
telemetry = Telemetry(function, version, metrics=settings.metrics == "emf")
telemetry.configure_logging()
for leftover in Path(tempfile.gettempdir()).glob("bulk-*") if "LAMBDA_TASK_ROOT" in os.environ else ():
    shutil.rmtree(leftover, ignore_errors=True)  # of a process that Lambda ended: its files would fill the disk


class StepError(Exception):
    """An unexpected error, without its message: it may quote the texts that were to be embedded."""


def lambda_handler(event: dict[str, Any], context: Any) -> dict[str, Any]:  # noqa: ANN401 - Lambda's
    """Take a step; return what the state machine needs of it.

    Raises:
        BulkError: the step fails, and would fail again.
        ArtifactError, StorageUnavailableError, UnavailableError, WebhookError, StepError: it fails, and may succeed the
            next time.
    """
    started = time.monotonic()
    step, target = event["step"], open_storage(event["out"])
    batch = batch_steps.find_batch(target.uri, settings.batches)
    what = f"{step} {event['item']['number']}" if "item" in event else step
    try:
        with _time_limit(context.get_remaining_time_in_millis() / 1000 - RESERVE_SECONDS, f"{target.uri}: {what}"):
            result = _take_of_batch(step, batch, target, event) if batch else _take(step, target, event)
    except (ArtifactError, StorageUnavailableError, UnavailableError, webhooks.WebhookError):
        raise
    except ServiceError as error:
        raise BulkError(error.message) from error
    except Exception as error:  # noqa: BLE001 - what it is stays here
        log_unexpected(context.aws_request_id, error)
        raise StepError(f"{type(error).__name__}; the function's log says where") from None
    seconds = time.monotonic() - started
    if batch:
        dollars = invocation_dollars(seconds, memory_mb)
        telemetry.log_batch_step(BatchStep(step, batch.id, batch_steps.caller(batch), seconds, dollars, result))
    else:
        telemetry.log_step(step, target.uri, seconds, result)
    return result


def _take(step: str, target: Storage, event: dict[str, Any]) -> dict[str, Any]:
    match step:
        case "plan":
            return {**asdict(steps.plan_shards(target, settings)), **_places(target, steps.SHARD_LIST)}
        case "shard":
            number = event["item"]["number"]
            return {"number": number, **asdict(steps.shard(target, settings, event["source"], number))}
        case "group":
            concurrency = min(event["concurrency"], MAX_CONCURRENT_PARTS)
            return {
                "parts": steps.group_shards(target),
                "concurrency": concurrency,
                **_places(target, steps.PART_LIST),
            }
        case "part":
            group = Group(**event["item"])
            return {"number": group.number, **asdict(steps.part(target, group))}
        case "finish":
            manifest = steps.finish_job(target, memory_mb)
            return {name: getattr(manifest, name) for name in ("rows_in", "rows_out", "rejects", "tokens")}
    raise BulkError(f"there is no step '{step}': the state machine and the function are of different versions")


def _take_of_batch(step: str, batch: BatchFolder, target: Storage, event: dict[str, Any]) -> dict[str, Any]:
    now = int(time.time())
    match step:
        case "plan":
            shards = batch_steps.plan_batch(batch, _catalog(), settings, steps.SHARD_LIST, now)
            # No failure of a shard stops the others: its requests become errors.
            return {"shards": shards, "source": target.uri, "tolerated": 100, **_places(target, steps.SHARD_LIST)}
        case "shard":
            return asdict(batch_steps.shard_batch(batch, _catalog(), event["item"]["number"], now))
        case "end":
            end = batch_steps.end_batch(batch, now)
            return {name: getattr(end, name) for name in ("ending", "completed", "failed", "tokens")} if end else {}
        case "report":
            webhooks.report(batch, settings, now)
            return {}
    raise BulkError(f"a batch has no step '{step}': the state machine and the function are of different versions")


@cache
def _catalog() -> Catalog:
    """Return the served models, which an environment loads once."""
    return Catalog(settings, telemetry.log_load_failure)


def _places(target: Storage, name: str) -> dict[str, str]:
    """Return where the state machine reads a list and writes results."""
    bucket, _, prefix = target.uri.removeprefix("s3://").partition("/")
    return {"bucket": bucket, "list": f"{prefix}/{name}", "results": f"{prefix}/{steps.RESULTS}"}


class TimeIsOver(BaseException):
    """Not an Exception: boto3 would take it for a failure of the network, and retry."""


@contextmanager
def _time_limit(seconds: float, what: str) -> Iterator[None]:
    """Raise a BulkError in this block after a time."""

    def stop(*_: object) -> None:
        raise TimeIsOver

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.001))
    try:
        yield
    except TimeIsOver:
        remedy = "deploy with a higher BulkMemorySize, then make bulk-resume"
        raise BulkError(f"{what} was not done in {seconds:.0f} seconds; {remedy}") from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
