"""A service with a folder for files and batches, and clients of it."""

from collections.abc import Iterator
from pathlib import Path

import httpx2
import openai
import pytest
from fastapi import FastAPI

from handler.storage.folder import Folder
from tests.conftest import serve
from tests.stored import Recorder, build


@pytest.fixture
def runner() -> Recorder:
    return Recorder()


@pytest.fixture
def storage(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "data")


@pytest.fixture
def stored_app(storage: Folder, runner: Recorder) -> FastAPI:
    return build(storage.path, runner)


@pytest.fixture
def stored_url(stored_app: FastAPI) -> Iterator[str]:
    with serve(stored_app) as address:
        yield address


@pytest.fixture
def sdk(stored_url: str) -> Iterator[openai.OpenAI]:
    """OpenAI's client."""
    with openai.OpenAI(base_url=f"{stored_url}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture
def http(stored_url: str) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=stored_url) as client:
        yield client
