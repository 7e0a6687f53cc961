"""`make verify-deployment` against the local service, as `make run` starts it, and against services that differ."""

import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from fastapi import FastAPI

from handler.api.app import create_app
from handler.api.keys import digest_of
from handler.embedding.embedder import Embedder
from handler.models.catalog import Catalog
from handler.settings import Settings
from tests import process
from tests.conftest import serve
from tests.deploy import client, verify
from tests.deploy.checks import CHECKS
from tests.emulator import ROOT

pytestmark = pytest.mark.emulated

KEY, WRONG_KEY = "sk-alice-has-this-key-for-the-tests", "sk-mallory-has-none-of-the-keys"
SERVICE = {"API_KEYS": f"alice:{digest_of(KEY)}", "CORS_ORIGINS": "https://app.example"}


@dataclass(frozen=True)
class Report:
    """What a run printed: its error, and by check `ok`, `skipped` or `FAILED`, each with its detail."""

    error: str
    rows: dict[str, str]

    @classmethod
    def of(cls, printed: str, error: str) -> "Report":
        lines = printed.splitlines()
        return cls(error, {name: line[24:] for name in CHECKS for line in lines if line.startswith(f"{name:24}")})

    @property
    def failed(self) -> set[str]:
        return {name for name, row in self.rows.items() if row.startswith("FAILED")}


@pytest.fixture
def run(capsys, monkeypatch) -> Callable[..., Report]:
    """Run the command in this process, so that the expected vectors are computed once for all tests."""

    def run(url: str, *options: str) -> Report:
        monkeypatch.setattr(sys, "argv", ["verify", "--url", url, *options])
        try:
            verify.main()
        except SystemExit as end:
            return Report.of(capsys.readouterr().out, str(end.code))
        return Report.of(capsys.readouterr().out, "")

    return run


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with process.serve(**SERVICE) as service:
        yield f"{service.url}/v1"


def test_local_service_passes_every_check():
    with process.serve(**SERVICE) as service:
        variables = [f"URL={service.url}/v1", f"KEY={KEY}", "ORIGIN=https://app.example"]
        command = ["make", "--silent", "verify-deployment", *variables]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    rows = Report.of(done.stdout, "").rows
    assert rows.keys() == CHECKS.keys()
    assert all(row.startswith("ok") for row in rows.values()), done.stdout
    assert "of a new environment: artifacts;dur=" in rows["first request"]
    assert "224 vectors, bit for bit" in rows["golden vectors"]


def test_failure_ends_the_command_with_status_1_and_the_names_of_the_checks():
    with serve(stranger()) as address:
        command = [sys.executable, "-m", "tests.deploy.verify", "--url", f"{address}/v1", "--key", KEY]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    passed = ["first request", "health", "CORS", "warm latency"]
    failed = [name for name in CHECKS if name not in passed]
    assert done.stderr == f"{len(failed)} of {len(CHECKS)} checks failed: {', '.join(failed)}\n"


def stranger() -> FastAPI:
    """Return a service that lists the bundled model, and responds to everything else with an empty object."""
    app = FastAPI()

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        return {"data": [{"id": "all-MiniLM-L6-v2", "digest": "sha256:0"}]}

    @app.api_route("/{path:path}", methods=["GET", "POST", "OPTIONS"])
    async def other() -> dict[str, Any]:
        return {}

    return app


def test_other_digest_and_other_origin_fail(run, url):
    report = run(url, "--key", KEY, "--digest", f"sha256:{'0' * 64}", "--origin", "https://elsewhere.example")
    assert report.error == f"2 of {len(CHECKS)} checks failed: model digest, CORS"
    assert report.rows["golden vectors"].startswith("skipped")


def test_refused_key_is_one_line(run, url):
    wrong, missing = run(url, "--key", WRONG_KEY), run(url)
    assert wrong == Report(f"{url} refuses this key (401): pass a deployed one, KEY=sk-...", {})
    assert missing == Report(f"{url} requires a key (401): pass a deployed one, KEY=sk-...", {})


def test_unusable_url_is_one_line(run, url):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        closed = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    elsewhere = f"{url}/elsewhere"
    assert run(closed).error == f"{closed} cannot be reached: [Errno 111] Connection refused"
    assert run("http://nothing.invalid/v1").error.startswith("http://nothing.invalid/v1 cannot be reached: ")
    assert "missing an 'http://' or 'https://' protocol" in run("127.0.0.1/v1").error
    assert run(elsewhere, "--key", KEY).error.startswith(f"GET {elsewhere}/models (404) lists no models: ")


def test_deployment_that_does_not_respond_is_one_line():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        silent = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        with pytest.raises(SystemExit, match=f"^{silent} cannot be reached: timed out$"):
            client.connect(silent, None, timeout=0.1).__enter__()


def build_app(embedder: Embedder, **settings: Any) -> FastAPI:
    configured = Settings(**settings)
    return create_app(configured, Catalog.of([embedder], configured))


def test_vectors_of_another_model_fail_and_so_does_a_service_that_needs_no_key(run, artifacts):
    manifest = replace(artifacts.manifest, pooling="cls")
    changed = Embedder(replace(artifacts, manifest=manifest), Settings())  # under the digest of the bundled model
    with serve(build_app(changed, auth_mode="none")) as address:
        report = run(f"{address}/v1", "--key", KEY)
    assert report.failed == {"golden vectors", "2048 texts as base64", "long text", "no key", "wrong key"}
    assert "224 of 224 vectors differ, lowest cosine" in report.rows["golden vectors"]


def test_open_service_passes_without_a_key(run, artifacts):
    with serve(build_app(Embedder(artifacts, Settings()), auth_mode="none", error_format="plain")) as address:
        report = run(f"{address}/v1", "--arm64")
    assert report.error == ""
    assert report.rows["no key"].startswith("skipped")
    assert "lowest cosine 1.0000" in report.rows["golden vectors"]
    assert "plain: Invalid 'input.1': it is an empty string." in report.rows["error envelope"]
