"""The application with a folder for files and batches, and what runs no batch but notes which it should."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fastapi import FastAPI

from handler.api.app import create_app
from handler.errors import BulkError
from handler.models.catalog import Catalog
from tests import tiny
from tests.conftest import SETTINGS


@dataclass
class Recorder:
    """Notes the batches that it should run; refuses to if there is an error to raise."""

    started: list[str] = field(default_factory=list)
    error: BulkError | None = None

    def start(self, batch: str) -> None:
        """Note a batch."""
        self.started.append(batch)
        if self.error:
            raise self.error


def build(storage: Path | str, runner: Recorder | None = None, **changes: Any) -> FastAPI:
    """Build the application."""
    settings = replace(SETTINGS, batches=str(storage), **changes)
    return create_app(settings, Catalog.of([tiny.embedder(settings)], settings), runner=runner)


def form(*parts: tuple[str, str | None, bytes], boundary: str = "b0undary") -> bytes:
    """Return a form of fields, each with its name, the name of its file if it is one, and its content."""
    written = []
    for name, filename, content in parts:
        file = "" if filename is None else f'; filename="{filename}"'
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'
        written.append(head.encode() + content + b"\r\n")
    return b"".join(written) + f"--{boundary}--\r\n".encode()


FORM = {"content-type": "multipart/form-data; boundary=b0undary"}
