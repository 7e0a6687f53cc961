"""OpenAI's contract of Files, Uploads and Batches, and its limits: what requests say."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from handler.contract.body import check_containers, foreign_encoding
from handler.errors import RequestError, from_validation

MAX_FILE_BYTES, MAX_PART_BYTES = 200 << 20, 64 << 20
MAX_FILENAME = 255
MIN_LIFE_SECONDS, MAX_LIFE_SECONDS = 3_600, 2_592_000  # 30 days
MAX_PARTS = 1_000  # 200 MB in parts of 200 kB
MAX_ID = 1_024  # an S3 key is at most as long

Filename = Annotated[str, Field(min_length=1, max_length=MAX_FILENAME, pattern=r"(?s)\.jsonl$")]
Purpose = Literal["batch"]


class RequestModel(BaseModel):
    """A request; unknown fields are ignored."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)

    @classmethod
    def parse(cls, body: bytes) -> Self:
        """Parse a request's JSON.

        Raises:
            RequestError: it is not JSON or not a valid request; the message names the field and what is expected.
        """
        check_containers(body)
        try:
            return cls.model_validate_json(body)
        except ValidationError as error:
            raise foreign_encoding(body) or invalid_request(error) from None


def invalid_request(error: ValidationError) -> RequestError:
    """Map pydantic's first error to a RequestError in OpenAI's words and with its codes."""
    first = error.errors(include_url=False)[0]
    param = ".".join(str(part) for part in first["loc"])
    if first["type"] == "literal_error":
        supported = first["ctx"]["expected"].replace(" or ", ", ")
        return RequestError(
            f"Invalid value: supported values of '{param}' are: {supported}.", param=param, code="invalid_value"
        )
    if param and first["type"].endswith("_type"):
        return RequestError(f"Invalid type for '{param}': {first['msg']}.", param=param, code="invalid_type")
    return from_validation(error)


class ExpiresAfter(RequestModel):
    """When a file expires: so many seconds after its creation."""

    anchor: Literal["created_at"]
    seconds: int = Field(ge=MIN_LIFE_SECONDS, le=MAX_LIFE_SECONDS)


def life_seconds(expires_after: ExpiresAfter | None) -> int:
    """Return the seconds from a file's creation to its end."""
    return expires_after.seconds if expires_after else MAX_LIFE_SECONDS


class CreateUpload(RequestModel):
    """Body of POST /v1/uploads."""

    bytes: int = Field(ge=1, le=MAX_FILE_BYTES, description="The size of the whole file.")
    filename: Filename
    mime_type: str = Field(max_length=MAX_FILENAME, description="Accepted, and not used.")
    purpose: Purpose
    expires_after: ExpiresAfter | None = None


class CompleteUpload(RequestModel):
    """Body of POST /v1/uploads/{upload_id}/complete."""

    part_ids: list[Annotated[str, Field(max_length=MAX_ID)]] = Field(max_length=MAX_PARTS)
    md5: Annotated[str, Field(pattern=r"^[0-9a-fA-F]{32}$")] | None = None


class CreateBatch(RequestModel):
    """Body of POST /v1/batches; `input_file_id` may also be s3://bucket/key, in the bucket that stores the batches."""

    input_file_id: str = Field(max_length=MAX_ID)
    endpoint: Literal["/v1/embeddings"]
    completion_window: Literal["24h"]
    metadata: dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]] | None = Field(
        None, max_length=16
    )
    output_expires_after: ExpiresAfter | None = None


class ListFiles(RequestModel):
    """Query of GET /v1/files."""

    after: str | None = Field(None, max_length=MAX_ID)
    limit: int = Field(10_000, ge=1, le=10_000)
    order: Literal["asc", "desc"] = "desc"
    purpose: str | None = Field(None, max_length=64)


class ListBatches(RequestModel):
    """Query of GET /v1/batches."""

    after: str | None = Field(None, max_length=MAX_ID)
    limit: int = Field(20, ge=1, le=100)
