"""Batches of the tiny model in a folder, run to their end by the functions that run them anywhere."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from handler.batches import files
from handler.batches.folder import BATCH, CANCEL, BatchFolder
from handler.batches.ids import new_id
from handler.batches.records import BatchEnd, BatchRecord, FileRecord, Moment
from handler.bulk.batch_finish import finish
from handler.bulk.batch_shard import find_model, missing, run_shards
from handler.bulk.batch_validate import validate
from handler.models.catalog import Catalog
from handler.settings import Settings
from handler.storage.entries import Storage
from handler.storage.folder import Folder
from tests import tiny

NOW = 1_800_000_000
DAY = 86_400
OWNER = "0" * 32
SETTINGS = Settings(workers=2, aliases=("text-embedding-ada-002",), token_input="native", auth_mode="none")


def catalog() -> Catalog:
    """Return a catalog with the tiny model alone."""
    return Catalog.of([tiny.embedder(SETTINGS)], SETTINGS)


def line(custom_id: object, text: object = "the food", **body: Any) -> dict[str, Any]:
    """Return a request with a text or another input; `body` adds fields to its body, or changes them."""
    return {
        "custom_id": custom_id,
        "method": "POST",
        "url": "/v1/embeddings",
        "body": {"model": "tiny", "input": text, **body},
    }


def jsonl(lines: Iterable[Mapping[str, Any]]) -> bytes:
    """Return requests as a file."""
    return b"".join(json.dumps(each).encode() + b"\n" for each in lines)


def create(where: Storage | Path, content: bytes, now: int = NOW) -> BatchFolder:
    """Upload a file and create a batch of it."""
    storage = Folder(where) if isinstance(where, Path) else where
    file_id = new_id("file-", now)
    files.add(storage, OWNER, FileRecord(file_id, 0, now, now + 30 * DAY, "in.jsonl", "batch"), [content])
    return create_of(storage, file_id, now)


def create_of(storage: Storage, file_id: str, now: int = NOW) -> BatchFolder:
    """Create a batch of a file."""
    folder = BatchFolder(storage, OWNER, new_id("batch_", now))
    record = BatchRecord(folder.id, OWNER, now, now + DAY, "/v1/embeddings", "24h", file_id, None, 30 * DAY)
    storage.create(folder.path(BATCH), record.to_json())
    return folder


def cancel(folder: BatchFolder, now: int = NOW) -> None:
    """Ask for a batch to be cancelled."""
    folder.storage.create(folder.path(CANCEL), Moment(now).to_json())


def run(folder: BatchFolder, models: Catalog, now: int = NOW) -> BatchEnd:
    """Run a batch to its end."""
    validate(folder, models, now)
    if plan := folder.plan():
        list(run_shards(folder, find_model(models, plan), missing(folder, plan)))
    return finish(folder, now)


def content(folder: BatchFolder, file_id: str | None) -> bytes:
    """Return a file's content; nothing if there is no such file."""
    if file_id is None:
        return b""
    record = files.get(folder.storage, OWNER, file_id, NOW)
    with files.content(folder.storage, OWNER, record) as file:
        found = file.read()
    assert len(found) == record.size
    assert (record.purpose, record.filename.startswith(folder.id)) == ("batch_output", True)
    return found


def results(folder: BatchFolder, end: BatchEnd) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the lines of both files."""
    output, errors = (
        [json.loads(each) for each in content(folder, file_id).splitlines()]
        for file_id in (end.output_file_id, end.error_file_id)
    )
    assert (len(output), len(errors)) == (end.completed, end.failed)
    return output, errors
