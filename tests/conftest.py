"""What tests share: the app on a loopback port, and a client."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx2
import pytest
import uvicorn
from fastapi import FastAPI

from handler.app import create_app
from handler.catalog import Catalog
from handler.settings import Settings
from tests import tiny

SETTINGS = Settings(workers=2, aliases=("text-embedding-ada-002",), token_input="native", auth_mode="none")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--image", help="run the emulator around this image instead of the working copy")


@contextmanager
def serve(app: FastAPI) -> Iterator[str]:
    """Serve an application on a free loopback port; yield its URL."""
    listener = socket.create_server(("127.0.0.1", 0))  # listens from here on, so no request can come too early
    server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="session")
def app() -> FastAPI:
    return create_app(SETTINGS, Catalog.of([tiny.embedder(SETTINGS)], SETTINGS))


@pytest.fixture(scope="session")
def url(app: FastAPI) -> Iterator[str]:
    with serve(app) as address:
        yield address


@pytest.fixture(scope="session")
def client(url: str) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=url) as http:
        yield http
