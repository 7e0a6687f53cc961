"""What the OpenAPI document says of files, uploads and batches."""

import re
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel

from handler.contract.batch_objects import Batch, BatchList, DeletedFile, File, FileList, Upload, UploadPart
from handler.contract.batches import CompleteUpload, CreateBatch, CreateUpload, ExpiresAfter, ListBatches, ListFiles
from handler.errors import (
    STATUS,
    STORAGE_UNAVAILABLE,
    ConflictError,
    ErrorBody,
    FileTooLargeError,
    NotFoundError,
    RateLimitError,
    RequestError,
    describe,
    describe_http,
)

Operation = tuple[str, str]
SUCCESS: dict[Operation, type[BaseModel]] = {
    ("/v1/files", "post"): File,
    ("/v1/files", "get"): FileList,
    ("/v1/files/{file_id}", "get"): File,
    ("/v1/files/{file_id}", "delete"): DeletedFile,
    ("/v1/uploads", "post"): Upload,
    ("/v1/uploads/{upload_id}/parts", "post"): UploadPart,
    ("/v1/uploads/{upload_id}/complete", "post"): Upload,
    ("/v1/uploads/{upload_id}/cancel", "post"): Upload,
    ("/v1/batches", "post"): Batch,
    ("/v1/batches", "get"): BatchList,
    ("/v1/batches/{batch_id}", "get"): Batch,
    ("/v1/batches/{batch_id}/cancel", "post"): Batch,
}
CONTENT = ("/v1/files/{file_id}/content", "get")
REQUESTS: dict[Operation, type[BaseModel]] = {
    ("/v1/uploads", "post"): CreateUpload,
    ("/v1/uploads/{upload_id}/complete", "post"): CompleteUpload,
    ("/v1/batches", "post"): CreateBatch,
}
BINARY = {"type": "string", "format": "binary"}
FORMS: dict[Operation, dict[str, Any]] = {
    ("/v1/files", "post"): {
        "type": "object",
        "required": ["file", "purpose"],
        "properties": {
            "file": BINARY | {"description": "JSON Lines; its name ends in .jsonl."},
            "purpose": {"type": "string", "const": "batch"},
            "expires_after[anchor]": ExpiresAfter.model_json_schema()["properties"]["anchor"],
            "expires_after[seconds]": ExpiresAfter.model_json_schema()["properties"]["seconds"],
        },
    },
    ("/v1/uploads/{upload_id}/parts", "post"): {
        "type": "object",
        "required": ["data"],
        "properties": {"data": BINARY},
    },
}
QUERIES: dict[Operation, type[BaseModel]] = {("/v1/files", "get"): ListFiles, ("/v1/batches", "get"): ListBatches}
DOWNLOAD: dict[str, Any] = {
    "200": {"description": "The file's bytes", "content": {"application/octet-stream": {"schema": BINARY}}},
    "302": {"description": "A URL in the bucket, for files of more than 4 MiB"},
}
REFERENCE = "#/components/schemas/"
SCHEMAS = (*SUCCESS.values(), *REQUESTS.values())


def request_body(operation: Operation) -> dict[str, Any] | None:
    """Describe the body of an operation's request."""
    if operation in FORMS:
        content = {"multipart/form-data": {"schema": FORMS[operation]}}
    elif operation in REQUESTS:
        content = {"application/json": {"schema": {"$ref": REFERENCE + REQUESTS[operation].__name__}}}
    else:
        return None
    return {"required": True, "content": content}


def parameters(operation: Operation) -> list[dict[str, Any]]:
    """Describe the parameters of an operation: those of its path, its query, and the key of a repeated request."""
    path, _ = operation
    found = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"\{(\w+)\}", path)
    ]
    if operation in QUERIES:
        properties = QUERIES[operation].model_json_schema()["properties"]
        found += [{"name": name, "in": "query", "schema": schema} for name, schema in properties.items()]
    if operation == ("/v1/batches", "post"):
        found.append({"name": "Idempotency-Key", "in": "header", "schema": {"type": "string"}})
    return found


def errors(operation: Operation) -> dict[HTTPStatus, ErrorBody]:
    """Return an example of each error that only such operations have."""
    path, method = operation
    invalid = RequestError("Invalid 'after': expected an ID, 'file-...'.", param="after", code="invalid_value")
    found = {
        HTTPStatus.SERVICE_UNAVAILABLE: STORAGE_UNAVAILABLE,
        HTTPStatus.METHOD_NOT_ALLOWED: describe_http(HTTPStatus.METHOD_NOT_ALLOWED, "PATCH", path),
    }
    if "{" in path:
        found[STATUS[NotFoundError]] = describe(NotFoundError("No such File object: file-0", param="id"))
    if operation in QUERIES or (method == "post" and operation != ("/v1/batches/{batch_id}/cancel", "post")):
        found[STATUS[RequestError]] = describe(invalid)
    if operation in FORMS:
        found[STATUS[FileTooLargeError]] = describe(FileTooLargeError(4 << 20))
    if method == "post" and "{" not in path:
        found[STATUS[RateLimitError]] = describe(RateLimitError("You have created 1,000 files in a minute; wait.", 60))
    if path.startswith("/v1/batches") and method == "post":
        found[STATUS[ConflictError]] = describe(ConflictError("Cannot cancel a batch with status 'completed'."))
    return found
