"""Requests and responses that break off in the middle."""

import asyncio
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import httpx2
import pytest
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from starlette.types import Message

from handler.api.app import create_app
from handler.models.catalog import Catalog
from tests import tiny
from tests.conftest import SETTINGS, serve


@pytest.fixture
def app() -> FastAPI:
    return create_app(replace(SETTINGS, aliases=()), Catalog.of([tiny.embedder(SETTINGS)], SETTINGS))


def test_incomplete_request_gets_no_response_and_logs_no_error(app, caplog):
    scope = {"type": "http", "method": "POST", "path": "/v1/embeddings", "raw_path": b"/v1/embeddings"}
    scope |= {"query_string": b"", "headers": [(b"content-length", b"100")], "client": ("127.0.0.1", 1)}
    received: Iterator[Message] = iter(
        [{"type": "http.request", "body": b'{"input": "', "more_body": True}, {"type": "http.disconnect"}]
    )
    sent: list[Message] = []

    async def receive() -> Message:
        return next(received)

    async def send(message: Message) -> None:
        sent.append(message)

    with closing(asyncio.new_event_loop()) as loop:  # asyncio.run would close the loop that Mangum uses in other tests
        loop.run_until_complete(app(scope, receive, send))
    assert sent == []
    assert not caplog.records


def test_response_that_fails_halfway_is_cut_off(app):
    def half() -> Iterator[bytes]:
        yield b"half"
        raise ValueError

    app.add_api_route("/half", lambda: StreamingResponse(half()))
    with serve(app) as url, httpx2.stream("GET", f"{url}/half") as response:
        assert response.status_code == 200
        with pytest.raises(httpx2.RemoteProtocolError):
            response.read()
