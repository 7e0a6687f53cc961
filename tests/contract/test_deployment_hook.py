"""The template's DeploymentHook: what it reports to CodeDeploy about a good version, and about a bad one."""

import json
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import BytesIO
from threading import Thread
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from mangum import Mangum

from handler.api.app import create_app
from handler.api.keys import digest_of
from handler.models.catalog import Catalog
from handler.settings import Settings
from tests import tiny
from tests.events import context
from tests.hook import deployment_hook

EVENT = {"DeploymentId": "d-1", "LifecycleEventHookExecutionId": "e-1"}


class ConflictError(Exception):
    """Lambda's ResourceConflictException."""


class Aws:
    """Lambda and CodeDeploy, as far as the hook calls them: the version is this code, with the settings given."""

    exceptions = SimpleNamespace(ResourceConflictException=ConflictError)

    def __init__(self, settings: Settings, *statuses: int | None) -> None:
        settings = replace(settings, long_input="truncate")  # the tiny model reads 16 tokens
        self.app = Mangum(create_app(settings, Catalog.of([tiny.embedder(settings)], settings)), lifespan="off")
        self.statuses = list(statuses)
        self.reported: list[dict[str, str]] = []

    def client(self, service: str, **_: object) -> "Aws":
        assert service in {"lambda", "codedeploy"}
        return self

    def invoke(self, *, FunctionName: str, Payload: str) -> dict[str, Any]:  # noqa: N803 - boto3's names
        assert FunctionName == "version"
        response = {"statusCode": self.statuses.pop(0)} if self.statuses else self.app(json.loads(Payload), context())
        if response["statusCode"] == 409:
            raise ConflictError
        return {"Payload": BytesIO(json.dumps(response).encode())}

    def put_lifecycle_event_hook_execution_status(self, **report: str) -> None:
        self.reported.append(report)


@pytest.fixture
def invoke(monkeypatch):
    def invoke(aws: Aws, event: dict[str, str], models: str = "tiny") -> None:
        monkeypatch.setenv("VERSION", "version")
        monkeypatch.setenv("MODELS", models)
        monkeypatch.setattr("time.sleep", lambda _: None)
        hook = deployment_hook()
        hook["boto3"] = SimpleNamespace(client=aws.client)
        hook["handler"](event, None)

    return invoke


@pytest.fixture
def run(invoke):
    def run(aws: Aws, models: str = "tiny") -> str:
        invoke(aws, EVENT, models)
        (report,) = aws.reported
        assert (report["deploymentId"], report["lifecycleEventHookExecutionId"]) == ("d-1", "e-1")
        return report["status"]

    return run


@pytest.mark.parametrize("mode", ["api-key", "iam", "jwt", "none"])
@pytest.mark.parametrize("models", ["tiny", " s3://bucket/models/tiny@sha256:0 , other"])
def test_good_version_gets_traffic_with_every_auth_mode(run, mode, models):
    aws = Aws(Settings(auth_mode=mode, api_keys=(("alice", digest_of("sk")),)))
    assert run(aws, models) == "Succeeded"


@pytest.mark.parametrize(("status", "times"), [(503, 4), (409, 4), (503, 5), (409, 5)])
def test_version_that_is_not_ready_yet_is_retried(run, status, times):
    aws = Aws(Settings(auth_mode="none"), *[status] * times)
    assert run(aws) == ("Succeeded" if times < 5 else "Failed")


@pytest.mark.parametrize("status", [400, 401, 500, None])
def test_version_that_responds_with_an_error_gets_no_traffic(run, capsys, status):
    assert run(Aws(Settings(auth_mode="none"), status)) == "Failed"
    assert "the new version gets no traffic" in json.loads(capsys.readouterr().out)["message"]


def test_version_that_does_not_serve_its_model_gets_no_traffic(run):
    assert run(Aws(Settings(auth_mode="none")), "another") == "Failed"


def test_version_with_wrong_vectors_gets_no_traffic(run):
    aws = Aws(Settings(auth_mode="none", models=("all-MiniLM-L6-v2",), aliases=("all-MiniLM-L6-v2",)))
    assert run(aws, "all-MiniLM-L6-v2") == "Failed"  # tiny's vectors, of length 1


class CloudFormation(BaseHTTPRequestHandler):
    """Takes the response of a custom resource."""

    received: ClassVar[list[dict[str, str]]] = []

    def do_PUT(self) -> None:
        self.received.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize(
    ("request_type", "statuses", "expected"),
    [
        ("Create", [], "SUCCESS"),
        ("Create", [500], "FAILED"),
        ("Update", [500], "SUCCESS"),
        ("Delete", [500], "SUCCESS"),
    ],
)
def test_stack_is_created_only_if_its_first_version_embeds(invoke, request_type, statuses, expected):
    with HTTPServer(("127.0.0.1", 0), CloudFormation) as server:
        Thread(target=server.handle_request).start()
        url = f"http://127.0.0.1:{server.server_port}/?Signature=x"
        identity = {"StackId": "s", "RequestId": "r", "LogicalResourceId": "FirstVersion"}
        invoke(
            Aws(Settings(auth_mode="none"), *statuses), {"RequestType": request_type, "ResponseURL": url, **identity}
        )
    response = CloudFormation.received.pop()
    assert (response["Status"], response["PhysicalResourceId"]) == (expected, "first-version")
    assert response.items() >= identity.items()
    assert ("gets no traffic" in response["Reason"]) == (expected == "FAILED")
