"""The template's DeploymentHook: what CodeDeploy hears of a good version, and of a bad one."""

import json
from dataclasses import replace
from io import BytesIO
from types import SimpleNamespace
from typing import Any

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


class Aws:
    """Lambda and CodeDeploy, as far as the hook calls them: the version is this code, with the settings given."""

    def __init__(self, settings: Settings, *unavailable: int) -> None:
        settings = replace(settings, long_input="truncate")  # the tiny model reads 16 tokens
        self.app = Mangum(create_app(settings, Catalog.of([tiny.embedder(settings)], settings)), lifespan="off")
        self.statuses = list(unavailable)
        self.reported: list[dict[str, str]] = []

    def client(self, service: str, **_: object) -> "Aws":
        assert service in {"lambda", "codedeploy"}
        return self

    def invoke(self, *, FunctionName: str, Payload: str) -> dict[str, Any]:  # noqa: N803 - boto3's names
        assert FunctionName == "version"
        response = {"statusCode": self.statuses.pop(0)} if self.statuses else self.app(json.loads(Payload), context())
        return {"Payload": BytesIO(json.dumps(response).encode())}

    def put_lifecycle_event_hook_execution_status(self, **report: str) -> None:
        self.reported.append(report)


@pytest.fixture
def run(monkeypatch):
    def run(aws: Aws, models: str = "tiny") -> str:
        monkeypatch.setenv("VERSION", "version")
        monkeypatch.setenv("MODELS", models)
        monkeypatch.setattr("time.sleep", lambda _: None)
        hook = deployment_hook()
        hook["boto3"] = SimpleNamespace(client=aws.client)
        hook["handler"](EVENT, None)
        (report,) = aws.reported
        assert (report["deploymentId"], report["lifecycleEventHookExecutionId"]) == ("d-1", "e-1")
        return report["status"]

    return run


@pytest.mark.parametrize("mode", ["api-key", "iam", "jwt", "none"])
@pytest.mark.parametrize("models", ["tiny", " s3://bucket/models/tiny@sha256:0 , other"])
def test_a_good_version_is_let_through_whoever_checks_the_caller(run, mode, models):
    aws = Aws(Settings(auth_mode=mode, api_keys=(("alice", digest_of("sk")),)))
    assert run(aws, models) == "Succeeded"


@pytest.mark.parametrize("unavailable", [3, 4])
def test_a_model_that_still_loads_is_asked_again(run, unavailable):
    aws = Aws(Settings(auth_mode="none"), *[503] * unavailable)
    assert run(aws) == ("Succeeded" if unavailable < 4 else "Failed")


@pytest.mark.parametrize("status", [400, 401, 500, None])
def test_a_version_that_responds_with_an_error_gets_no_traffic(run, capsys, status):
    assert run(Aws(Settings(auth_mode="none"), status)) == "Failed"
    assert "the new version gets no traffic" in json.loads(capsys.readouterr().out)["message"]


def test_a_version_that_does_not_know_its_model_gets_no_traffic(run):
    assert run(Aws(Settings(auth_mode="none")), "another") == "Failed"


def test_a_version_with_wrong_vectors_gets_no_traffic(run):
    aws = Aws(Settings(auth_mode="none", models=("all-MiniLM-L6-v2",), aliases=("all-MiniLM-L6-v2",)))
    assert run(aws, "all-MiniLM-L6-v2") == "Failed"  # tiny's vectors, of length 1
