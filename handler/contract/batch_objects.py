"""OpenAI's contract of Files, Uploads and Batches: the objects in responses."""

from typing import Literal

from pydantic import BaseModel


class File(BaseModel):
    """A file; times are Unix seconds."""

    id: str
    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    expires_at: int
    filename: str
    purpose: Literal["batch", "batch_output"]
    status: Literal["processed"] = "processed"


class ObjectList(BaseModel):
    """A page of a list; both IDs are null if it is empty."""

    object: Literal["list"] = "list"
    first_id: str | None
    last_id: str | None
    has_more: bool


class FileList(ObjectList):
    """A page of files."""

    data: list[File]


class DeletedFile(BaseModel):
    """Body of a successful DELETE /v1/files/{file_id}."""

    id: str
    object: Literal["file"] = "file"
    deleted: Literal[True] = True


class Upload(BaseModel):
    """A file that arrives in parts, until `expires_at`; `file` is what a completed one has become."""

    id: str
    object: Literal["upload"] = "upload"
    bytes: int
    created_at: int
    expires_at: int
    filename: str
    purpose: Literal["batch"]
    status: Literal["pending", "completed", "cancelled", "expired"]
    file: File | None


class UploadPart(BaseModel):
    """A part of an upload."""

    id: str
    object: Literal["upload.part"] = "upload.part"
    created_at: int
    upload_id: str


class BatchError(BaseModel):
    """Why an input is not valid; `line` counts from 1."""

    code: str
    message: str
    param: str | None
    line: int | None


class BatchErrors(BaseModel):
    """Why a batch has failed."""

    object: Literal["list"] = "list"
    data: list[BatchError]


class RequestCounts(BaseModel):
    """How many of a batch's requests are done."""

    total: int
    completed: int
    failed: int


class InputTokensDetails(BaseModel):
    """None is cached."""

    cached_tokens: Literal[0] = 0


class OutputTokensDetails(BaseModel):
    """Embeddings have none."""

    reasoning_tokens: Literal[0] = 0


class BatchUsage(BaseModel):
    """Tokens that the model has read, zero until the batch has ended."""

    input_tokens: int
    input_tokens_details: InputTokensDetails = InputTokensDetails()
    output_tokens: Literal[0] = 0
    output_tokens_details: OutputTokensDetails = OutputTokensDetails()
    total_tokens: int


class Batch(BaseModel):
    """A batch; a time is null until it has come."""

    id: str
    object: Literal["batch"] = "batch"
    endpoint: str
    model: str | None
    errors: BatchErrors | None
    input_file_id: str
    completion_window: str
    status: Literal[
        "validating", "failed", "in_progress", "finalizing", "completed", "expired", "cancelling", "cancelled"
    ]
    output_file_id: str | None
    error_file_id: str | None
    created_at: int
    in_progress_at: int | None
    expires_at: int
    finalizing_at: int | None
    completed_at: int | None
    failed_at: int | None
    expired_at: int | None
    cancelling_at: int | None
    cancelled_at: int | None
    request_counts: RequestCounts
    usage: BatchUsage
    metadata: dict[str, str] | None


class BatchList(ObjectList):
    """A page of batches."""

    data: list[Batch]
