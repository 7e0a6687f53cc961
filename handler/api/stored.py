"""Work on files and batches: whose, where, and outside the event loop."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from fastapi import Request, Response
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from handler.api.compression import decode_body
from handler.api.limits import MAX_BODY_BYTES
from handler.api.owner import owner_of
from handler.batches.runner import Runner
from handler.contract.batch_objects import Batch, BatchList, File, FileList
from handler.contract.batches import RequestModel
from handler.storage.entries import Storage

Result = TypeVar("Result")
Body = TypeVar("Body", bound=RequestModel)


@dataclass(frozen=True, slots=True)
class Work:
    """What a request works on: the storage, the owner in it, the time in Unix seconds, and what runs batches.

    caller  the name of the API key, for logs and metrics
    """

    storage: Storage
    owner: str
    now: int
    runner: Runner
    caller: str | None


def begin(request: Request) -> Work:
    """Return what an authenticated request works on."""
    stored = request.scope["stored"]
    owner = owner_of(request.scope, request.app.state.settings.auth_mode)
    return Work(stored.storage, owner, int(time.time()), stored.runner, request.scope["record"].caller)


async def run_in_thread(request: Request, work: Callable[[], Result]) -> Result:
    """Run slow work outside the event loop, and not in the threads that embed; not on Lambda, as in routes.py."""
    return work() if "aws.event" in request.scope else await run_in_threadpool(work)


async def parse_body(request: Request, schema: type[Body]) -> Body:
    """Parse a request's JSON."""
    return schema.parse(decode_body(request.scope, await request.body(), MAX_BODY_BYTES))


def parse_query(request: Request, schema: type[Body]) -> Body:
    """Parse a request's query; of a parameter that occurs twice, the last one counts."""
    return schema.parse_strings(dict(request.query_params))


def respond(body: BaseModel) -> Response:
    """Return a response of JSON."""
    return Response(body.model_dump_json(), media_type="application/json")


def respond_page(schema: type[FileList | BatchList], data: Sequence[File | Batch], *, has_more: bool) -> Response:
    """Return a response with a page of a list."""
    first, last = (data[0].id, data[-1].id) if data else (None, None)
    fields = {"data": data, "first_id": first, "last_id": last, "has_more": has_more}
    return respond(schema.model_validate(fields))
