"""The JavaScript clients: each *.test.mjs file in its own Node process."""

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
def test_javascript(url, file):
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            pytest.fail(f"{program} is not on the PATH: the JavaScript clients need Node 20 or newer", pytrace=False)
    if not INSTALLED.exists() or INSTALLED.stat().st_mtime < max(path.stat().st_mtime for path in DECLARED):
        run("npm", "ci")
    run("node", "--test", file, EMBEDDINGS_URL=url, GOLDEN=str(GOLDEN))


def run(*command: str, **environ: str) -> None:
    done = subprocess.run(command, cwd=CLIENTS, env=os.environ | environ, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.fail(f"{' '.join(command)}\n{done.stdout}{done.stderr}", pytrace=False)
