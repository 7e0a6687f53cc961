"""The input of a batch: copied, then checked, all or nothing, before anything runs."""

from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, BinaryIO

from handler.batches import files
from handler.batches.folder import END, INPUT, PLAN, BatchFolder
from handler.batches.ids import new_id
from handler.batches.records import BatchEnd, BatchPlan, BatchRecord, BatchShard, LineError
from handler.bulk.batch_requests import Line, parse_object, read_lines
from handler.contract.batches import MAX_FILE_BYTES
from handler.errors import ModelMismatchError, ModelNotFoundError, NotFoundError
from handler.models.catalog import Catalog
from handler.storage.entries import blocks
from handler.storage.uri import open_storage

# OpenAI's limits (platform.openai.com/docs/guides/batch): of requests, and of inputs over all requests.
MAX_REQUESTS = MAX_INPUTS = 50_000
MAX_ERRORS = 1_000  # that are listed: a file may have millions of lines that are wrong
MAX_QUOTED = 100  # characters of a name in a message
# A shard is embedded at once: about 3 seconds of a processor for short texts, and 30 for long ones. A single request of
# as many tokens as one may have takes two minutes.
SHARD_INPUTS, SHARD_BYTES = 2048, 1 << 20
REQUIRED = ("custom_id", "method", "url", "body")


def validate(folder: BatchFolder, catalog: Catalog, now: int, objects: str = "") -> None:
    """Write a batch's plan, or its end if its input is not valid; do nothing if there is either.

    Args:
        folder: the batch.
        catalog: the served models.
        now: Unix seconds.
        objects: the URI of a prefix, with a slash at its end, whose objects may be inputs; empty for none.

    Raises:
        BulkError: the storage refuses.
        UnavailableError: the manifest of a model is unavailable now.
    """
    if folder.plan() or folder.end():
        return
    record = folder.record()
    found = _copy_input(folder, record, now, objects)
    if not isinstance(found, LineError):
        storage = folder.storage
        with storage.stream(storage.entry(folder.path(INPUT))) as file:
            checked = _Check(record.endpoint, catalog)
            checked.run(file)
        if not checked.errors:
            folder.storage.create(folder.path(PLAN), checked.plan(now).to_json())
            return
    errors = (found,) if isinstance(found, LineError) else tuple(checked.errors)
    if not folder.plan():  # another run may have copied the file before it was deleted
        folder.storage.create(folder.path(END), BatchEnd(now, "failed", errors=errors).to_json())


def _copy_input(folder: BatchFolder, record: BatchRecord, now: int, objects: str) -> LineError | None:
    """Copy the input into the batch's folder, so that it may be deleted; return why that is not possible."""
    if folder.storage.exists(folder.path(INPUT)):
        return None
    source = _open_input(folder, record, now, objects)
    if isinstance(source, LineError):
        return source
    with source as file:
        folder.storage.write_stream(folder.path(INPUT), blocks(file))
    return None


def _open_input(folder: BatchFolder, record: BatchRecord, now: int, objects: str) -> BinaryIO | LineError:
    missing = LineError(
        "invalid_request", f"Cannot find file {record.input_file_id}, or you do not have access to it.", "file_id"
    )
    if record.input_file_id.startswith("s3://"):
        return _open_object(folder, record.input_file_id, objects, missing)
    try:
        file = files.get(folder.storage, record.owner, record.input_file_id, now)
    except NotFoundError:
        return missing
    if file.purpose != "batch":
        return LineError("invalid_request", f"File {file.id} has not the purpose 'batch'.", "file_id")
    return _too_large(file.size) or files.content(folder.storage, record.owner, file)


def _open_object(folder: BatchFolder, uri: str, objects: str, missing: LineError) -> BinaryIO | LineError:
    """Open an object that anyone may name: one below `objects`, which is no owner's file."""
    if not objects or not uri.startswith(objects) or uri.startswith(f"{folder.storage.uri}/"):
        where = f"only objects of {objects} are" if objects else "no object is"
        return LineError("invalid_request", f"Cannot read {uri[:MAX_QUOTED]}: {where} accepted here.", "file_id")
    parent, _, name = uri.rpartition("/")
    storage = open_storage(parent)
    if not name or not storage.exists(name):
        return missing
    entry = storage.entry(name)
    return _too_large(entry.size) or storage.stream(entry)


def _too_large(size: int) -> LineError | None:
    if size <= MAX_FILE_BYTES:
        return None
    return LineError(
        "invalid_request",
        f"File is too large: it has {size:,} bytes, and at most {MAX_FILE_BYTES:,} are read.",
        "file_id",
    )


@dataclass(slots=True)
class _Check:
    """The state of checking an input's lines."""

    endpoint: str
    catalog: Catalog
    errors: list[LineError] = field(default_factory=list)
    shards: list[BatchShard] = field(default_factory=list)
    model: str = ""
    requests: int = 0
    inputs: int = 0
    _ids: set[bytes] = field(default_factory=set)
    _inputs_of_shard: int = 0

    def run(self, file: BinaryIO) -> None:
        """Check all lines, up to the first that is one too many."""
        for line in read_lines(file):
            if self.requests == MAX_REQUESTS:
                self._add(None, "too_many_tasks", f"The file has more than {MAX_REQUESTS:,} requests.")
                return
            if len(self.errors) == MAX_ERRORS:
                self._add(
                    None, "invalid_request", f"There may be more errors: only the first {MAX_ERRORS:,} are listed."
                )
                return
            self.requests += 1
            self._check(line)
        if not self.requests:
            self._add(None, "empty_file", "The file has no requests.")
        if self.inputs > MAX_INPUTS:
            self._add(
                None,
                "too_many_tasks",
                f"The requests have {self.inputs:,} inputs, and at most {MAX_INPUTS:,} are accepted.",
            )

    def plan(self, now: int) -> BatchPlan:
        """Return the plan of a valid input."""
        return BatchPlan(
            at=now,
            model=self.model,
            digest=self.catalog.manifest(self.model).digest,
            requests=self.requests,
            shards=tuple(self.shards),
            output_file_id=new_id("file-", now),
            error_file_id=new_id("file-", now),
        )

    def _add(self, line: Line | None, code: str, message: str, param: str | None = None) -> None:
        self.errors.append(LineError(code, message, param, line.number if line else None))

    def _check(self, line: Line) -> None:
        """Add the first error of a line, if it has one, and else its request."""
        if line.content is None:
            return self._add(line, "invalid_request", "This line is longer than a request may be.")
        fields = parse_object(line.content)
        if fields is None:
            return self._add(line, "invalid_json_line", "This line is not parseable as valid JSON.")
        for name in REQUIRED:
            if fields.get(name) is None:
                return self._add(line, "missing_required_parameter", f"Missing required parameter: '{name}'.", name)
        return self._check_envelope(line, fields)

    def _check_envelope(self, line: Line, fields: dict[str, Any]) -> None:
        body, custom_id = fields["body"], fields["custom_id"]
        if not isinstance(custom_id, str):
            return self._add(line, "invalid_request", "The custom_id must be a string.", "custom_id")
        if fields["method"] != "POST":
            return self._add(line, "invalid_request", "The method must be POST.", "method")
        if fields["url"] != self.endpoint:
            message = "The URL provided for this request does not match the batch endpoint."
            return self._add(line, "invalid_url", message, "url")
        if not isinstance(body, dict):
            return self._add(line, "invalid_request", "The body must be a JSON object.", "body")
        digest = blake2b(custom_id.encode(), digest_size=16).digest()
        if digest in self._ids:
            message = "Another request of the file has this custom_id."
            return self._add(line, "duplicate_custom_id", message, "custom_id")
        self._ids.add(digest)
        return self._check_body(line, body)

    def _check_body(self, line: Line, body: dict[str, Any]) -> None:
        model, value = body.get("model"), body.get("input")
        if not isinstance(model, str):
            return self._add(line, "invalid_request", "Model parameter is required.", "body.model")
        if value is None:
            return self._add(line, "invalid_request", "Input parameter is required.", "body.input")
        if body.get("stream"):
            return self._add(line, "streaming_unsupported", "Streaming is not supported in a batch.", "body.stream")
        if model != self.model and not self._is_served(model):
            message = f"The provided model '{model[:MAX_QUOTED]}' is not supported by the Batch API."
            return self._add(line, "model_not_found", message, "body.model")
        self.model = self.model or model
        if model != self.model:
            message = f"All requests of a file name one model, and an earlier one names '{self.model}'."
            return self._add(line, "mismatched_model", message, "body.model")
        return self._plan(line, len(value) if isinstance(value, list) and value and type(value[0]) is not int else 1)

    def _is_served(self, model: str) -> bool:
        try:
            self.catalog.find(model)
        except (ModelNotFoundError, ModelMismatchError):
            return False
        return True

    def _plan(self, line: Line, inputs: int) -> None:
        """Add a request to the last shard, or to a new one if that would be too large."""
        self.inputs += inputs
        last = self.shards[-1] if self.shards else None
        if last and line.end - last.start <= SHARD_BYTES and self._inputs_of_shard + inputs <= SHARD_INPUTS:
            self._inputs_of_shard += inputs
            self.shards[-1] = BatchShard(last.number, last.start, line.end, last.requests + 1)
        else:
            self._inputs_of_shard = inputs
            self.shards.append(BatchShard(len(self.shards), line.start, line.end, 1))
