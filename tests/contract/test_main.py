"""The composition root in processes of its own: locally and on Lambda, with valid and invalid settings."""

import json
import subprocess
import sys

import pytest

from tests.emulator import ENVIRONMENT, ROOT, clean_environment
from tests.events import event
from tests.unit.bulk import aws

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


def test_function_starts_batches_on_the_state_machine(tmp_path):
    settings = {"AUTH_MODE": "none", "BATCHES": str(tmp_path), "BATCH_MACHINE": "arn:machine"}
    body = {"input_file_id": "file-1", "endpoint": "/v1/embeddings", "completion_window": "24h"}
    create = event("http-api-2.0", json.dumps(body), path="/v1/batches")
    code = f"""
from handler.main import lambda_handler
from tests.events import context
print(lambda_handler({create!r}, context())["body"])
"""
    with aws.serve() as running:
        running.responses["StartExecution"] = [{"executionArn": "arn:execution", "startDate": 1.0}]
        done = python(code, **ENVIRONMENT, **running.environment, **settings)
        assert done.returncode == 0, done.stderr
        batch = json.loads(done.stdout.splitlines()[-1])
        ((_, request),) = running.requests
    assert request["stateMachineArn"] == "arn:machine"
    assert request["name"].startswith(batch["id"])
