"""OpenAI's contract of Files, Uploads and Batches: requests, and their limits."""

import codecs
from typing import Annotated, Literal, Self

import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from handler.contract.body import foreign_encoding, parse_json
from handler.contract.validation import invalid_request
from handler.errors import RequestError

MAX_FILE_BYTES, MAX_PART_BYTES = 200 << 20, 64 << 20
MIN_LIFE_SECONDS, MAX_LIFE_SECONDS = 3_600, 2_592_000  # 30 days
MAX_PARTS = 1_000  # of an upload: 200 MB in parts of 200 kB
MAX_FILENAME = 255
MAX_ID = 1_024  # an S3 key has at most as many bytes
BEGINNING_BYTES = 64 << 10


def check_filename(name: str) -> str:
    """Check the name of a batch's input."""
    if not name.endswith(".jsonl"):
        raise ValueError("Invalid file format for Batch API. Must be .jsonl")
    return name


def check_size(size: int) -> int:
    """Check the size of a batch's input, in bytes."""
    if size > MAX_FILE_BYTES:
        raise ValueError(f"File is too large. Maximum file size is {MAX_FILE_BYTES >> 20} MB.")
    if size < 1:
        raise ValueError("File is empty.")
    return size


def check_beginning(content: bytes) -> None:
    """Check the first bytes of a batch's input, BEGINNING_BYTES if it has as many: its first line must be JSON.

    Raises:
        RequestError: it is not. Other failures are those of the batch, which names the lines.
    """
    if not content:
        raise RequestError("File is empty.", param="file", code="empty_file")
    line, end, _ = content.removeprefix(codecs.BOM_UTF8).lstrip().partition(b"\n")
    try:
        if end or len(content) < BEGINNING_BYTES:
            orjson.loads(line)
    except orjson.JSONDecodeError:
        known = foreign_encoding(content)
        why = known.message.partition(": ")[2] if known else "the first line is not valid JSON"
        raise RequestError(
            f"Invalid file format for Batch API. Must be JSON Lines: {why}.", param="file", code="invalid_file_format"
        ) from None


Identifier = Annotated[str, Field(max_length=MAX_ID)]
Filename = Annotated[str, Field(max_length=MAX_FILENAME), AfterValidator(check_filename)]


class RequestModel(BaseModel):
    """A request; unknown fields are ignored."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)

    @classmethod
    def parse(cls, body: bytes) -> Self:
        """Parse a request's JSON, which may begin with a byte order mark.

        Raises:
            RequestError: it is not JSON or not a valid request; the message names the field and what is expected.
        """
        return parse_json(cls, body, invalid_request)

    @classmethod
    def parse_strings(cls, values: dict[str, str] | dict[str, str | dict[str, str]]) -> Self:
        """Parse the parameters of a query, or the fields of a form.

        Raises:
            RequestError: as parse.
        """
        try:
            return cls.model_validate_strings(values)
        except ValidationError as error:
            raise invalid_request(error) from None


class ExpiresAfter(RequestModel):
    """When a file expires: so many seconds after its creation."""

    anchor: Literal["created_at"]
    seconds: int = Field(ge=MIN_LIFE_SECONDS, le=MAX_LIFE_SECONDS)


def life_seconds(expires_after: ExpiresAfter | None) -> int:
    """Return the seconds from a file's creation to its end."""
    return expires_after.seconds if expires_after else MAX_LIFE_SECONDS


class CreateFile(RequestModel):
    """Fields of POST /v1/files; `file` is the name of the file."""

    file: Filename
    purpose: Literal["batch"]
    expires_after: ExpiresAfter | None = None


class ListFiles(RequestModel):
    """Query of GET /v1/files."""

    after: Identifier | None = Field(default=None, description="The ID of the last file of the page before.")
    limit: int = Field(default=10_000, ge=1, le=10_000)
    order: Literal["asc", "desc"] = Field(default="desc", description="By the time of creation.")
    purpose: Annotated[str, Field(max_length=64)] | None = Field(default=None, description="`batch` or `batch_output`.")


class CreateUpload(RequestModel):
    """Body of POST /v1/uploads."""

    bytes: Annotated[int, AfterValidator(check_size)] = Field(description="The size of the whole file.")
    filename: Filename
    mime_type: str = Field(max_length=MAX_FILENAME, description="Accepted, and not used.")
    purpose: Literal["batch"]
    expires_after: ExpiresAfter | None = None


class CompleteUpload(RequestModel):
    """Body of POST /v1/uploads/{upload_id}/complete."""

    part_ids: list[Identifier] = Field(max_length=MAX_PARTS, description="In the order of the file.")
    md5: Annotated[str, Field(pattern=r"^[0-9a-fA-F]{32}$")] | None = Field(
        default=None, description="Of the file, in hex."
    )


class CreateBatch(RequestModel):
    """Body of POST /v1/batches."""

    input_file_id: Identifier = Field(
        description="The ID of a file, or s3://bucket/key, an object of the bucket that stores the batches."
    )
    endpoint: Literal["/v1/embeddings"]
    completion_window: Literal["24h"]
    metadata: dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]] | None = Field(
        default=None, max_length=16
    )
    output_expires_after: ExpiresAfter | None = None


class ListBatches(RequestModel):
    """Query of GET /v1/batches, the newest of which come first."""

    after: Identifier | None = Field(default=None, description="The ID of the last batch of the page before.")
    limit: int = Field(default=20, ge=1, le=100)
