"""Shared fixtures and options: the app on a loopback port, and an HTTP client for it."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import pytest
import uvicorn
from fastapi import FastAPI
from hypothesis import HealthCheck, settings

from handler.api.app import create_app
from handler.models.catalog import Catalog
from handler.settings import Settings
from tests import tiny

SETTINGS = Settings(workers=2, aliases=("text-embedding-ada-002",), token_input="native", auth_mode="none")

# Hypothesis reports slow machines and fixtures that are not reset between inputs as failures; both are fine here.
LENIENT: dict[str, Any] = {"deadline": None, "suppress_health_check": list(HealthCheck)}
settings.register_profile("test", max_examples=100, derandomize=True, database=None, **LENIENT)
settings.register_profile("fuzz", max_examples=20_000, print_blob=True, **LENIENT)  # make fuzz
settings.load_profile("test")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--image", help="run this image under the emulator instead of the working copy")
    parser.addoption("--every", type=int, default=1, help="compare processors on every n-th golden text")
    parser.addoption(
        "--soak", type=int, default=200, help="number of requests in a soak test; make soak sends thousands"
    )


@contextmanager
def serve(app: FastAPI) -> Iterator[str]:
    """Serve an application on a free loopback port; yield its URL."""
    listener = socket.create_server(("127.0.0.1", 0))  # listens from now on, so no request can arrive too early
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive(), "the server does not end"


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
