"""`make bench-lambda` against the function's app under uvicorn, and its log in a local CloudWatch."""

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from itertools import chain
from typing import IO, Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from benchmarks import deployment, function_log
from benchmarks.cold import PHASES
from benchmarks.report import cost, readme
from benchmarks.report.deployment import FunctionConfiguration
from handler.api.app import create_app
from handler.models.catalog import Catalog
from handler.settings import Settings
from tests import tiny
from tests.conftest import serve
from tests.deploy.client import connect
from tests.emulator import ROOT, free_port
from tests.process import wait_until
from tests.s3 import CREDENTIALS

pytestmark = pytest.mark.emulated

STACK, FUNCTION = "embeddings", "embeddings-Function-x"
GROUP = f"/serverless-embeddings/{STACK}/function"
TRUST = {
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}]
}
ARM = FunctionConfiguration("arm64", 2048)


@pytest.fixture(scope="module")
def aws() -> Iterator[str]:
    """Run a local emulation of AWS with a function's configuration; yield its URL."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    try:
        role = client("iam", url).create_role(RoleName="function", AssumeRolePolicyDocument=json.dumps(TRUST))["Role"]
        client("lambda", url).create_function(
            FunctionName=FUNCTION,
            Role=role["Arn"],
            PackageType="Image",
            Code={"ImageUri": "123456789012.dkr.ecr.us-east-1.amazonaws.com/function:latest"},
            MemorySize=ARM.memory_mb,
            Architectures=[ARM.architecture],
        )
        yield url
    finally:
        server.stop()


def client(service: str, url: str) -> Any:
    names = {"aws_access_key_id": "AWS_ACCESS_KEY_ID", "aws_secret_access_key": "AWS_SECRET_ACCESS_KEY"}
    credentials = {argument: CREDENTIALS[variable] for argument, variable in names.items()}
    return boto3.client(service, endpoint_url=url, region_name="us-east-1", **credentials)


@pytest.fixture
def url(aws, monkeypatch) -> Iterator[str]:
    """Serve the app of the Lambda function, with its log, and forward the log to CloudWatch."""
    for name, value in {**CREDENTIALS, "AWS_ENDPOINT_URL": aws}.items():
        monkeypatch.setenv(name, value)
    logs = client("logs", aws)
    logs.create_log_group(logGroupName=GROUP)
    logs.create_log_stream(logGroupName=GROUP, logStreamName="environment")
    environment = {"AWS_LAMBDA_FUNCTION_NAME": FUNCTION, "AUTH_MODE": "none", "PYTHONUNBUFFERED": "1"}
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "handler.main:app", "--port", str(port), "--log-level", "warning"]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as running:
        forwarder = threading.Thread(target=forward, args=(running.stdout, logs))
        forwarder.start()
        try:
            wait_until(partial(accepts, port))
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            running.terminate()
            forwarder.join()
            logs.delete_log_group(logGroupName=GROUP)


def forward(lines: IO[str], logs: Any) -> None:
    """Send lines to CloudWatch, after two that the function did not write."""
    for line in chain(("START RequestId: 1", "[]"), lines):
        event = {"timestamp": int(time.time() * 1000), "message": line}
        logs.put_log_events(logGroupName=GROUP, logStreamName="environment", logEvents=[event])


def accepts(port: int) -> bool:
    with suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False


@pytest.fixture(autouse=True)
def small(monkeypatch) -> None:
    """Send fewer requests with fewer texts, for a shorter time."""
    monkeypatch.setattr(deployment, "WARM_REQUESTS", 40)
    monkeypatch.setattr(deployment, "BATCH", 4)
    monkeypatch.setattr(deployment, "CONCURRENCY_SECONDS", 0)


def test_function_is_measured_over_http_and_from_its_log(url):
    with connect(url, None) as connected:
        results = deployment.measure(connected, STACK, since=0)
    latencies = {each.what: each for each in results.latencies}
    assert list(latencies) == ["cold start, one text", *(f"cold start, {phase}" for phase in PHASES), "warm, one text"]
    assert [each.count for each in latencies.values()] == [1, 1, 1, 1, 1, deployment.WARM_REQUESTS]
    assert all(0 < each.p50 <= each.p99 for each in latencies.values())
    assert [(each.concurrency, each.refused) for each in results.throughputs] == [(1, 0), (4, 0), (10, 0)]
    assert results.prices
    assert results.prices.function == ARM
    one = results.prices.dollars[1]
    least, most = (cost.request("arm64", 2, milliseconds) / 16 * 1_000_000 for milliseconds in (1, 200))
    assert least / 2 < one < most * 2  # for texts of about 16 tokens


def test_command_writes_the_table_to_the_readme_only_with_a_stack(url, monkeypatch, tmp_path, capsys):
    copy = tmp_path / "README.md"
    copy.write_text(readme.README.read_text())
    monkeypatch.setattr(readme, "README", copy)
    rest = readme.written()
    monkeypatch.setattr(sys, "argv", ["bench-lambda", "--url", url])
    before = copy.read_text()
    deployment.main()
    assert "| texts per second |" in capsys.readouterr().out
    assert copy.read_text() == before
    monkeypatch.setattr(sys, "argv", ["bench-lambda", "--url", url, "--stack", STACK])
    deployment.main()
    table, printed = readme.written(readme.BEGIN_LAMBDA), capsys.readouterr()
    assert f"{table}\n" == printed.out
    assert "no cold start: every environment was warm" in printed.err  # because of the first run
    assert "on Lambda with 2048 MB, arm64." in table
    assert readme.written() == rest


def test_refused_requests_are_counted():
    settings = Settings(auth_mode="none", long_input="error")
    app = create_app(settings, Catalog.of([tiny.embedder(settings)], settings))
    with serve(app) as address, connect(f"{address}/v1", None) as connected:  # its model accepts at most 16 tokens
        results = deployment.measure(connected, None, since=0)
    (warm,) = results.latencies
    assert 0 < warm.count < deployment.WARM_REQUESTS
    assert all(0 <= each.refused <= each.concurrency for each in results.throughputs)
    assert any(each.refused for each in results.throughputs)


def test_unusable_log_is_one_line(url, monkeypatch):
    monkeypatch.setattr(function_log, "WAIT_SECONDS", 0)
    monkeypatch.setattr(sys, "argv", ["bench-lambda", "--url", url, "--stack", "other"])
    with pytest.raises(SystemExit, match=r"^not measured: .*ResourceNotFoundException"):
        deployment.main()
    with pytest.raises(TimeoutError, match=f"^1 of 1 requests are not in {GROUP}: "):
        function_log.wait_for(boto3.client("logs"), STACK, 0, {"id"})
