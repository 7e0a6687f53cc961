"""A shard of a batch: consecutive requests become lines of the output and of the error file, and a receipt.

Three stages overlap, across the borders of shards, too: one thread reads and parses requests, one embeds them with all
workers, and the caller's encodes and writes. What is written depends on the input, the plan and the model alone.
"""

import time
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from threading import Event
from typing import TypeVar

from handler.batches.folder import CANCEL, END, OUTCOME, SHARDS, BatchFolder, ShardReceipt
from handler.batches.records import BatchPlan, BatchShard
from handler.bulk.background import Background
from handler.bulk.batch_embed import Answer, BatchModel, Embedded, embed_requests
from handler.bulk.batch_lines import answered
from handler.bulk.batch_requests import Request, read_requests
from handler.contract.responses import response_model
from handler.errors import ModelMismatchError, UnavailableError
from handler.models.catalog import Catalog

AHEAD = 1  # shards that wait between two stages
# For a model to load: a busy machine may be slow, on Lambda it loads only while a step runs, and a new process would
# begin again.
LOAD_SECONDS = 120.0
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class _Requests:
    shard: BatchShard
    requests: list[Request]


@dataclass(frozen=True, slots=True)
class _Answers:
    shard: BatchShard
    requests: list[Request]
    answers: list[Answer]


def is_over(folder: BatchFolder, now: int) -> bool:
    """Return whether no shard of a batch may start any more: it is cancelled or expired, or how it ends is decided."""
    names = {folder.path(name) for name in (CANCEL, OUTCOME, END)}
    return now >= folder.record().expires_at or any(map(folder.storage.exists, names))


def missing(folder: BatchFolder, plan: BatchPlan) -> list[BatchShard]:
    """Return the shards that are not done."""
    done = folder.receipts()
    return [shard for shard in plan.shards if shard.number not in done]


def find_model(catalog: Catalog, plan: BatchPlan) -> BatchModel:
    """Return the model that a batch began with.

    Raises:
        ModelNotFoundError, ModelMismatchError: it is not served any more.
        UnavailableError: it is unavailable now.
    """
    embedder = catalog.get(plan.model)
    if embedder.digest != plan.digest:
        raise ModelMismatchError(plan.model, embedder.digest)
    prompt = catalog.prompt(plan.model)
    return BatchModel(embedder, prompt, response_model(plan.model, embedder.manifest.id, prompt, embedder.digest))


def once_loaded(work: Callable[[], Result]) -> Result:
    """Return what `work` returns; while its model loads, do it again, for LOAD_SECONDS at most.

    Raises:
        UnavailableError: the model is unavailable, or still loads.
    """
    ends = time.monotonic() + LOAD_SECONDS
    while True:
        try:
            return work()
        except UnavailableError as error:
            if time.monotonic() + error.retry_after > ends:
                raise
            time.sleep(error.retry_after)


def run_shard(folder: BatchFolder, catalog: Catalog, number: int, now: int) -> ShardReceipt | None:
    """Run one shard, unless it is done; return its receipt, or None if the batch is over.

    Raises:
        BulkError: the input cannot be read, or what came of it cannot be written.
        ModelNotFoundError, ModelMismatchError, UnavailableError: as `find_model`.
    """
    plan, done = folder.plan(), folder.receipts()
    if number in done:
        return done[number]
    if not plan or is_over(folder, now):
        return None
    (receipt,) = run_shards(folder, find_model(catalog, plan), [plan.shards[number]])
    return receipt


def run_shards(folder: BatchFolder, model: BatchModel, shards: Iterable[BatchShard]) -> Generator[ShardReceipt]:
    """Run shards in their order, and yield each one's receipt. Closing the iterator stops it within a second.

    Raises:
        BulkError: as `run_shard`.
    """
    with Background() as background:
        read = background.run_ahead(_read(folder, shards), AHEAD)
        embedded = background.run_ahead(map(partial(_embed, model, background.stop), read), AHEAD)
        for each in embedded:
            yield _write(folder, model, each)


def _read(folder: BatchFolder, shards: Iterable[BatchShard]) -> Iterator[_Requests]:
    for shard in shards:
        yield _Requests(shard, list(read_requests(folder, shard)))


def _embed(model: BatchModel, stop: Event, read: _Requests) -> _Answers:
    return _Answers(read.shard, read.requests, embed_requests(read.requests, model, stop))


def _write(folder: BatchFolder, model: BatchModel, each: _Answers) -> ShardReceipt:
    lines: dict[bool, list[bytes]] = {True: [], False: []}
    for request, answer in zip(each.requests, each.answers, strict=True):
        lines[isinstance(answer, Embedded)].append(answered(folder.id, request, answer, model.name))
    for succeeded, suffix in ((True, "output"), (False, "errors")):
        if lines[succeeded]:
            folder.storage.write_stream(folder.path(f"{SHARDS}{each.shard.number}.{suffix}"), lines[succeeded])
    tokens = sum(answer.tokens for answer in each.answers if isinstance(answer, Embedded))
    receipt = ShardReceipt(each.shard.number, len(lines[True]), len(lines[False]), tokens)
    folder.storage.write(folder.path(receipt.name), b"")  # last: a shard that has it is done
    return receipt
