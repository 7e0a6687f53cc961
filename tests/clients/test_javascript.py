"""The JavaScript clients: each *.test.mjs file runs in its own Node process."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.clients.conftest import GOLDEN

CLIENTS = Path(__file__).parent
INSTALLED = CLIENTS / "node_modules" / ".package-lock.json"
DECLARED = [CLIENTS / "package.json", CLIENTS / "package-lock.json"]


@pytest.mark.parametrize("file", [path.name for path in sorted(CLIENTS.glob("*.test.mjs"))])
def test_javascript_client_passes_its_tests(url, file):
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            pytest.fail(f"{program} is not on the PATH: the JavaScript clients require Node 20 or newer", pytrace=False)
    if not INSTALLED.exists() or INSTALLED.stat().st_mtime < max(path.stat().st_mtime for path in DECLARED):
        run("npm", "ci")
    run("node", "--test", file, EMBEDDINGS_URL=url, GOLDEN=str(GOLDEN))


def run(*command: str, **environ: str) -> None:
    completed = subprocess.run(
        command, cwd=CLIENTS, env=os.environ | environ, capture_output=True, text=True, check=False
    )
    if completed.returncode:
        pytest.fail(f"{' '.join(command)}\n{completed.stdout}{completed.stderr}", pytrace=False)
