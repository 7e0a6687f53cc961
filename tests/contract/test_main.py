"""The composition root in processes of its own: locally and on Lambda, with valid and invalid settings."""

import json
import subprocess
import sys

import pytest

from tests.emulator import ENVIRONMENT, ROOT, clean_environment
from tests.events import event

INVALID = {"AUTH_MODE": "nonsense"}
INVOKE = f"""
import json
from handler.main import lambda_handler
from tests.events import context
response = lambda_handler({event("http-api-2.0", '{"model": "all-MiniLM-L6-v2", "input": "text"}')!r}, context())
print(json.dumps({{"status": response["statusCode"]}}))
"""


def python(code: str, **settings: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code]
    environment = clean_environment(**settings)
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def test_invalid_setting_ends_the_local_process_with_one_line():
    ended = python("import handler.main", **INVALID)
    assert (ended.returncode, ended.stdout) == (1, "")
    (line,) = ended.stderr.splitlines()
    assert "AUTH_MODE" in line
    assert "nonsense" in line


@pytest.mark.parametrize(("settings", "status"), [({"AUTH_MODE": "none"}, 200), (INVALID, 503)])
def test_function_responds_on_lambda_and_logs_only_json(settings, status):
    done = python(INVOKE, **ENVIRONMENT, **settings)
    assert (done.returncode, done.stderr) == (0, "")
    *log, last = map(json.loads, done.stdout.splitlines())
    assert last == {"status": status}
    assert any("AUTH_MODE" in line.get("message", "") for line in log) == (status == 503)
