"""The facts that are stored of files and batches, each in a JSON file that is written once.

    owners/<owner>/files/<file id>.json         FileRecord
    owners/<owner>/files/<file id>              its content
    owners/<owner>/batches/<batch id>/
        batch.json                              BatchRecord: validating
        input                                   the batch's own copy of its input, so that the file may be deleted
        plan.json                               BatchPlan, once the input is valid: in progress
        cancel.json                             Moment, once it is to be cancelled
        shards/<number>.output, .errors         lines of the requests of a shard
        shards/<number>.<completed>.<failed>.<tokens>   empty, and written last: the shard is done
        outcome.json                            BatchOutcome, how it ends: finalizing
        end.json                                BatchEnd: completed, failed, expired or cancelled
    owners/<owner>/keys/<SHA-256>.json          IdempotencyKey: the batch that a request has created
    uploads/<owner>/<upload id>/                apart from the others, because it is deleted after a day
        upload.json                             UploadRecord: pending
        <part id>                               the bytes of a part
        end.json                                UploadEnd: completed or cancelled

A batch's status follows from which of them exist, so no file is ever changed, and one list of its folder shows how far
it is. An outcome names the shards that count, so that every run that finalizes a batch writes the same files.
"""

from dataclasses import asdict, dataclass
from typing import Literal, Self

import orjson

WINDOW_SECONDS = 24 * 60 * 60  # of a batch, from its creation
Purpose = Literal["batch", "batch_output"]
Ending = Literal["completed", "failed", "expired", "cancelled"]


class _Stored:
    """A record as JSON."""

    __slots__ = ()

    def to_json(self) -> bytes:
        """Return the record as it is stored."""
        return orjson.dumps(asdict(self))  # type: ignore[call-overload]

    @classmethod
    def from_json(cls, content: bytes) -> Self:
        """Read a stored record."""
        return cls(**orjson.loads(content))


@dataclass(frozen=True, slots=True)
class FileRecord(_Stored):
    """A file, as the API describes it; times are Unix seconds, and `size` is in bytes."""

    id: str
    size: int
    created_at: int
    expires_at: int
    filename: str
    purpose: str


@dataclass(frozen=True, slots=True)
class UploadRecord(_Stored):
    """A file that arrives in parts, as it was announced.

    size           of the whole file, in bytes
    expires_after  seconds from the creation of the file to its end
    """

    id: str
    created_at: int
    expires_at: int
    filename: str
    purpose: str
    size: int
    expires_after: int


@dataclass(frozen=True, slots=True)
class UploadEnd(_Stored):
    """The end of an upload: the file that its parts have become, or None if it was cancelled."""

    file_id: str | None


@dataclass(frozen=True, slots=True)
class IdempotencyKey(_Stored):
    """What a request with such a key has created; `request` is the SHA-256 of the request."""

    batch_id: str
    request: str


@dataclass(frozen=True, slots=True)
class BatchRecord(_Stored):
    """A batch as it was created.

    input_file_id         a file of the same owner, or s3://bucket/key
    output_expires_after  seconds from the creation of its output files to their end
    caller                the name of the API key that created it, for logs and metrics
    """

    id: str
    owner: str
    created_at: int
    expires_at: int
    endpoint: str
    completion_window: str
    input_file_id: str
    metadata: dict[str, str] | None
    output_expires_after: int
    caller: str | None = None


@dataclass(frozen=True, slots=True)
class BatchShard:
    """Consecutive requests of the input: its bytes from `start` to `end`."""

    number: int
    start: int
    end: int
    requests: int


@dataclass(frozen=True, slots=True)
class BatchPlan(_Stored):
    """A valid input; the IDs of both files are chosen here, so that every run that finalizes writes the same ones.

    model   as the requests name it
    digest  the digest of the model that has the name: all vectors are to be of one model
    """

    at: int
    model: str
    digest: str
    requests: int
    shards: tuple[BatchShard, ...]
    output_file_id: str
    error_file_id: str

    @classmethod
    def from_json(cls, content: bytes) -> Self:
        """Read a stored plan."""
        stored = orjson.loads(content)
        return cls(**{**stored, "shards": tuple(BatchShard(**shard) for shard in stored["shards"])})


@dataclass(frozen=True, slots=True)
class Moment(_Stored):
    """When something happened, in Unix seconds."""

    at: int


@dataclass(frozen=True, slots=True)
class BatchOutcome(_Stored):
    """How a batch ends: the shards whose results count. The requests of all others get an error with a code."""

    at: int
    ending: Ending
    shards: tuple[int, ...]
    code: str | None = None

    @classmethod
    def from_json(cls, content: bytes) -> Self:
        """Read a stored outcome."""
        stored = orjson.loads(content)
        return cls(**{**stored, "shards": tuple(stored["shards"])})


@dataclass(frozen=True, slots=True)
class LineError:
    """Why an input is not valid; `line` counts from 1."""

    code: str
    message: str
    param: str | None = None
    line: int | None = None


@dataclass(frozen=True, slots=True)
class BatchEnd(_Stored):
    """The end of a batch; an ID is None where there is no such file."""

    at: int
    ending: Ending
    completed: int = 0
    failed: int = 0
    tokens: int = 0
    output_file_id: str | None = None
    error_file_id: str | None = None
    errors: tuple[LineError, ...] = ()

    @classmethod
    def from_json(cls, content: bytes) -> Self:
        """Read a stored end."""
        stored = orjson.loads(content)
        return cls(**{**stored, "errors": tuple(LineError(**error) for error in stored["errors"])})
