"""Fixtures of the deployment tests: an emulated AWS, the SAM command line, and the default environment's stack."""

import re
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx2
import pytest

from tests import webhooks
from tests.deploy import aws as emulated_aws
from tests.deploy.aws import CONTAINERS_HOST, Aws, docker
from tests.deploy.sam import Sam, copy_project
from tests.deploy.stack import Key, Stack
from tests.emulator import ROOT, bridge_address
from tests.webhooks import Receiver


@pytest.fixture(scope="session")
def aws(tmp_path_factory) -> Iterator[Aws]:
    with emulated_aws.run(tmp_path_factory.mktemp("aws")) as running:
        yield running


@pytest.fixture(scope="session")
def http(aws) -> Iterator[httpx2.Client]:
    with httpx2.Client(verify=ssl.create_default_context(cafile=str(aws.authority)), timeout=60) as client:
        yield client


@pytest.fixture(scope="session")
def sam(aws, tmp_path_factory) -> Iterator[Sam]:
    command = Sam(copy_project(tmp_path_factory.mktemp("project")), aws)
    with restored_tag("function:latest"):
        command.build()
        yield command


def make_key(name: str) -> Key:
    printed = subprocess.check_output(["make", "--silent", "api-key", f"NAME={name}"], cwd=ROOT, text=True)
    secret, pair = re.findall(r"(?:shown this once|in ApiKeys): +(\S+)", printed)
    return Key(secret, pair)


@pytest.fixture(scope="session")
def key() -> Key:
    return make_key("alice")


@pytest.fixture(scope="session")
def other_key() -> Key:
    return make_key("bob")


@dataclass(frozen=True)
class BulkStack:
    """A stack with bulk jobs and batches, and what receives its webhooks."""

    stack: Stack
    receiver: Receiver


@pytest.fixture(scope="session")
def bulk_stack(aws, http, key, other_key, tmp_path_factory) -> Iterator[BulkStack]:
    """Deploy the default environment with bulk jobs, and two API keys."""
    sam = Sam(copy_project(tmp_path_factory.mktemp("project")), aws)
    overrides = {"Environment": "default", "Bulk": "true"}
    with (
        restored_tag("function:latest"),
        restored_tag("bulkfunction:latest"),
        webhooks.receive(bridge_address(), aws.folder) as receiver,
    ):
        sam.build("--parameter-overrides", *(f"{name}={value}" for name, value in overrides.items()))
        url = f"https://{CONTAINERS_HOST}:{receiver.port}/hook"
        sam.deploy(**overrides, WebhookUrl=url, ApiKeys=f"{key.pair},{other_key.pair}", BulkMaxConcurrency="2")
        deployed = Stack("embeddings", aws, http, key)
        secret = aws.client("secretsmanager").get_secret_value(SecretId=deployed.outputs()["WebhookSecretArn"])
        receiver.secret = f"whsec_{secret['SecretString']}"
        aws.name_host(deployed.url)
        yield BulkStack(deployed, receiver)


@pytest.fixture(scope="session")
def stack(sam, aws, http, key) -> Stack:
    """Deploy the default environment as README.md says: `sam deploy --guided`, with an API key."""
    sam.deploy_guided({"ApiKeys": key.pair})
    deployed = Stack("embeddings", aws, http, key)
    aws.name_host(deployed.url)
    return deployed


@contextmanager
def restored_tag(image: str) -> Iterator[None]:
    """Make an image's tag mean after the block what it meant before."""
    before = docker("images", "--quiet", "--no-trunc", image).strip()
    yield
    if before:
        docker("tag", before, image)
    else:
        docker("rmi", "--no-prune", image)
