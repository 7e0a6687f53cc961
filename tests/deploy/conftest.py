"""Fixtures of the deployment tests: an emulated AWS, the SAM command line, and the default environment's stack."""

import re
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import httpx2
import pytest

from tests.deploy import aws as emulated_aws
from tests.deploy.aws import Aws, docker
from tests.deploy.sam import Sam, copy_project
from tests.deploy.stack import Key, Stack
from tests.emulator import ROOT


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


@pytest.fixture(scope="session")
def key() -> Key:
    printed = subprocess.check_output(["make", "--silent", "api-key", "NAME=alice"], cwd=ROOT, text=True)
    secret, pair = re.findall(r"(?:shown this once|in ApiKeys): +(\S+)", printed)
    return Key(secret, pair)


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
