"""The endpoints of files."""

from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from typing import BinaryIO

from fastapi import APIRouter, Request, Response
from starlette.responses import RedirectResponse, StreamingResponse

from handler.api.multipart import ExpectedFile, Form, receive_form
from handler.api.stored import Work, begin, parse_query, respond, respond_page, run_in_thread
from handler.batches import files
from handler.batches.ids import new_id
from handler.batches.records import FileRecord
from handler.contract.batch_objects import DeletedFile, File, FileList
from handler.contract.batches import MAX_FILE_BYTES, CreateFile, ListFiles, check_beginning, life_seconds
from handler.errors import FileTooLargeError, RequestError
from handler.storage.entries import blocks

router = APIRouter()
# Lambda accepts events of 6 MB, in which a form is base64, and responds with as many: four thirds of these bytes.
LAMBDA_FILE_BYTES = 4 << 20
URL_SECONDS = 5 * 60  # to begin the download
HEADERS = {"content-disposition": "attachment", "x-content-type-options": "nosniff"}  # to be saved, never shown


@router.post("/v1/files")
async def create_file(request: Request) -> Response:
    """Store a file: the input of a batch, .jsonl, at most 200 MB; on AWS, larger ones than 4 MiB are uploads."""
    work = begin(request)
    await run_in_thread(request, partial(files.check_room, work.storage, work.owner, work.now))
    with work.storage.temporary() as path:
        form = await receive_form(request, expected_file(request, "file", MAX_FILE_BYTES), path)
        record = _new_file(form, work)
        await run_in_thread(request, partial(files.publish, work.storage, work.owner, record, path))
    return respond(describe(record))


def expected_file(request: Request, param: str, limit: int) -> ExpectedFile:
    """Return what is expected of a form: on Lambda, less fits into a request."""
    if "aws.event" in request.scope:
        return ExpectedFile(param, LAMBDA_FILE_BYTES, FileTooLargeError(LAMBDA_FILE_BYTES))
    message = f"File is too large. At most {limit:,} bytes are accepted."
    return ExpectedFile(param, limit, RequestError(message, param=param, code="file_too_large"))


def _new_file(form: Form, work: Work) -> FileRecord:
    if form.filename is None:
        raise RequestError("Invalid 'file': the form gives it no filename.", param="file", code="invalid_value")
    fields: dict[str, str | dict[str, str]] = {"file": form.filename}
    expires_after = {}
    for name, value in form.fields.items():
        if name in {"expires_after[anchor]", "expires_after[seconds]"}:
            expires_after[name[14:-1]] = value
        elif name == "purpose":
            fields[name] = value
    asked = CreateFile.parse_strings(fields | ({"expires_after": expires_after} if expires_after else {}))
    check_beginning(form.beginning)
    return FileRecord(
        id=new_id("file-", work.now),
        size=form.size,
        created_at=work.now,
        expires_at=work.now + life_seconds(asked.expires_after),
        filename=asked.file,
        purpose=asked.purpose,
    )


@router.get("/v1/files")
async def list_files(request: Request) -> Response:
    """List files by the time of their creation, a page at a time."""
    work, asked = begin(request), parse_query(request, ListFiles)
    found = await run_in_thread(request, partial(files.page, work.storage, work.owner, asked, work.now))
    return respond_page(FileList, [describe(record) for record in found.items], has_more=found.has_more)


@router.get("/v1/files/{file_id}")  # noqa: FAST003 - for a path parameter, FastAPI would import pydantic.v1
async def get_file(request: Request) -> Response:
    """Describe a file."""
    return respond(describe(await _find(request, begin(request))))


@router.get("/v1/files/{file_id}/content")  # noqa: FAST003 - as above
async def get_content(request: Request) -> Response:
    """Return a file's bytes; where they are in a bucket and more than 4 MiB, a redirect to a URL there."""
    work = begin(request)
    record = await _find(request, work)
    if record.size > LAMBDA_FILE_BYTES and (
        url := await run_in_thread(request, partial(files.download_url, work.storage, work.owner, record, URL_SECONDS))
    ):
        return RedirectResponse(url, 302)
    content = await run_in_thread(request, partial(files.content, work.storage, work.owner, record))
    headers = HEADERS | {"content-length": f"{record.size}"}
    return StreamingResponse(_blocks(content), headers=headers, media_type="application/octet-stream")


def _blocks(content: BinaryIO) -> Iterator[bytes]:
    with content:
        yield from blocks(content)


@router.delete("/v1/files/{file_id}")  # noqa: FAST003 - as above
async def delete_file(request: Request) -> Response:
    """Delete a file; batches that have been created keep a copy of their input."""
    work = begin(request)
    record = await _find(request, work)
    await run_in_thread(request, partial(files.delete, work.storage, work.owner, record))
    return respond(DeletedFile(id=record.id))


async def _find(request: Request, work: Work) -> FileRecord:
    file_id: str = request.path_params["file_id"]
    return await run_in_thread(request, partial(files.get, work.storage, work.owner, file_id, work.now))


def describe(record: FileRecord) -> File:
    """Return a file as the API describes it."""
    fields = asdict(record)
    return File(bytes=fields.pop("size"), **fields)
