"""The endpoints of uploads."""

from functools import partial

from fastapi import APIRouter, Request, Response

from handler.api.files import describe as describe_file
from handler.api.files import expected_file
from handler.api.multipart import receive_form
from handler.api.stored import begin, parse_body, respond, run_in_thread
from handler.batches import uploads
from handler.contract import batch_objects
from handler.contract.batches import MAX_PART_BYTES, CompleteUpload, CreateUpload

router = APIRouter()


@router.post("/v1/uploads")
async def create_upload(request: Request) -> Response:
    """Announce a file that arrives in parts within an hour."""
    work, asked = begin(request), await parse_body(request, CreateUpload)
    upload = await run_in_thread(request, partial(uploads.create, work.storage, work.owner, asked, work.now))
    return respond(_describe(upload))


@router.post("/v1/uploads/{upload_id}/parts")  # noqa: FAST003 - for a path parameter, FastAPI would import pydantic.v1
async def add_part(request: Request) -> Response:
    """Store a part of an upload, at most 64 MB, on AWS 4 MiB; parts may be sent at once and in any order."""
    work, upload_id = begin(request), request.path_params["upload_id"]
    await run_in_thread(request, partial(uploads.check_part, work.storage, work.owner, upload_id, work.now))
    with work.storage.temporary() as path:
        await receive_form(request, expected_file(request, "data", MAX_PART_BYTES), path)
        part_id = await run_in_thread(
            request, partial(uploads.add_part, work.storage, work.owner, upload_id, path, work.now)
        )
    return respond(batch_objects.UploadPart(id=part_id, created_at=work.now, upload_id=upload_id))


@router.post("/v1/uploads/{upload_id}/complete")  # noqa: FAST003 - as above
async def complete_upload(request: Request) -> Response:
    """Make a file of an upload's parts, in the given order."""
    work, upload_id = begin(request), request.path_params["upload_id"]
    asked = await parse_body(request, CompleteUpload)
    upload = await run_in_thread(
        request, partial(uploads.complete, work.storage, work.owner, upload_id, asked, work.now)
    )
    return respond(_describe(upload))


@router.post("/v1/uploads/{upload_id}/cancel")  # noqa: FAST003 - as above
async def cancel_upload(request: Request) -> Response:
    """Cancel an upload, and delete its parts."""
    work, upload_id = begin(request), request.path_params["upload_id"]
    upload = await run_in_thread(request, partial(uploads.cancel, work.storage, work.owner, upload_id, work.now))
    return respond(_describe(upload))


def _describe(upload: uploads.Upload) -> batch_objects.Upload:
    record = upload.record
    return batch_objects.Upload(
        id=record.id,
        bytes=record.size,
        created_at=record.created_at,
        expires_at=record.expires_at,
        filename=record.filename,
        purpose="batch",
        status=upload.status,
        file=describe_file(upload.file) if upload.file else None,
    )
