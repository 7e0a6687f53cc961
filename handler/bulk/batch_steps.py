"""The steps of a batch on AWS, in the order in which the state machine takes them. Each skips what is done."""

import json
import re
from dataclasses import asdict

from handler.batches.folder import BATCH, BatchFolder, ShardReceipt
from handler.batches.records import BatchEnd
from handler.bulk.batch_finish import finish
from handler.bulk.batch_shard import is_over, missing, once_loaded, run_shard
from handler.bulk.batch_validate import validate
from handler.models.catalog import Catalog
from handler.settings import Settings
from handler.storage.uri import open_storage

FOLDER = re.compile(r"owners/([^/]+)/batches/([^/]+)")


def find_batch(uri: str, root: str) -> BatchFolder | None:
    """Return the batch whose folder is at a URI, or None if that is no folder of a batch below the root."""
    found = FOLDER.fullmatch(uri.removeprefix(f"{root}/")) if root else None
    return BatchFolder(open_storage(root), found[1], found[2]) if found else None


def plan_batch(folder: BatchFolder, catalog: Catalog, settings: Settings, shards: str, now: int) -> int:
    """Validate a batch and write the list of the shards that are to run to a file; return how many these are.

    Raises:
        BulkError, UnavailableError: as `validate`.
    """
    if _exists(folder):
        validate(folder, catalog, now, settings.batch_input)
    plan = folder.plan()
    todo = missing(folder, plan) if plan and not is_over(folder, now) else []
    folder.storage.write(folder.path(shards), json.dumps([asdict(shard) for shard in todo]).encode())
    return len(todo)


def shard_batch(folder: BatchFolder, catalog: Catalog, number: int, now: int) -> ShardReceipt:
    """Run a shard, unless it is done or the batch is over, which counts as nothing done.

    Raises:
        BulkError, ModelNotFoundError, ModelMismatchError, UnavailableError: as `run_shard`.
    """
    receipt = once_loaded(lambda: run_shard(folder, catalog, number, now))
    return receipt or ShardReceipt(number, 0, 0, 0)


def end_batch(folder: BatchFolder, now: int) -> BatchEnd | None:
    """End a batch; return the end, or None if the batch has been withdrawn.

    Raises:
        BulkError: as `finish`.
    """
    return finish(folder, now) if _exists(folder) else None


def caller(folder: BatchFolder) -> str | None:
    """Return the name of the API key that a batch was created with, if it was one."""
    return folder.record().caller if _exists(folder) else None


def _exists(folder: BatchFolder) -> bool:
    """Return whether there is a batch: the API withdraws one if it seems that no run of it could be started."""
    return folder.storage.exists(folder.path(BATCH))
