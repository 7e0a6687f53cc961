"""The lines of a batch's output and error files."""

import hashlib
from collections.abc import Mapping
from http import HTTPStatus

import orjson

from handler.bulk.batch_embed import Answer, Embedded
from handler.bulk.batch_requests import Request
from handler.contract.responses import encode_response
from handler.contract.schemas import EmbeddingRequest
from handler.errors import STATUS, UNEXPECTED, RequestError, describe

NOT_RUN = {
    "batch_expired": "This request could not be executed before the completion window expired.",
    "batch_cancelled": "This request was not executed, because the batch was cancelled.",
    "internal_error": "This request could not be executed, because the batch failed; send it again.",
}


def answered(batch_id: str, request: Request, answer: Answer, model: str) -> bytes:
    """Return the line of a request that has a response, whose body is that of POST /v1/embeddings."""
    if isinstance(answer, Embedded):
        assert isinstance(request.body, EmbeddingRequest)  # noqa: S101 - it has been embedded
        status, body = HTTPStatus.OK, _body(request.body, answer, model)
    elif isinstance(answer, RequestError):
        status, body = STATUS[type(answer)], orjson.dumps(describe(answer).envelope())
    else:
        status, body = HTTPStatus.INTERNAL_SERVER_ERROR, orjson.dumps(UNEXPECTED.envelope())
    digest = _digest(batch_id, request)
    response = {"status_code": status.value, "request_id": f"req_{digest}", "body": orjson.Fragment(body)}
    return _line(digest, request, response, None)


def not_run(batch_id: str, request: Request, code: str) -> bytes:
    """Return the line of a request that was not run."""
    return _line(_digest(batch_id, request), request, None, {"code": code, "message": NOT_RUN[code]})


def _body(request: EmbeddingRequest, embedded: Embedded, model: str) -> bytes:
    return encode_response(
        embedded.vectors, model=model, tokens=embedded.tokens, encoding_format=request.encoding_format or "float"
    )


def _line(digest: str, request: Request, response: Mapping[str, object] | None, error: dict[str, str] | None) -> bytes:
    line = {"id": f"batch_req_{digest}", "custom_id": request.custom_id, "response": response, "error": error}
    return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)


def _digest(batch_id: str, request: Request) -> str:
    """Return 32 hex digits that depend on the batch and the request's place in it, so that every run has the same."""
    return hashlib.blake2b(f"{batch_id}:{request.position}".encode(), digest_size=16).hexdigest()
