"""A deployed stack, as its callers and its owner see it."""

import json
from dataclasses import dataclass

import httpx2
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.deploy.aws import REGION, Aws

MODEL = "all-MiniLM-L6-v2"
BODY = {"model": MODEL, "input": "hello"}


@dataclass(frozen=True)
class Key:
    """An API key: what a caller sends, and the pair that is deployed."""

    secret: str
    pair: str


@dataclass(frozen=True)
class Stack:
    """A deployed stack: its name, its outputs and its AWS; `key` is the API key that it was deployed with."""

    name: str
    aws: Aws
    http: httpx2.Client
    key: Key

    def outputs(self) -> dict[str, str]:
        """Return the stack's outputs, as of now."""
        (stack,) = self.aws.client("cloudformation").describe_stacks(StackName=self.name)["Stacks"]
        return {each["OutputKey"]: each["OutputValue"] for each in stack["Outputs"]}

    @property
    def url(self) -> str:
        """The base URL for OpenAI clients."""
        return self.outputs()["BaseUrl"]

    def embed(self, url: str = "", **headers: str) -> httpx2.Response:
        """Request the embedding of a text from one of the stack's base URLs."""
        body = {"model": MODEL, "input": "hello"}
        return self.http.post(f"{url or self.url}/embeddings", json=body, headers=headers)

    def embed_with_key(self, url: str = "") -> httpx2.Response:
        """Request the embedding of a text with the API key."""
        return self.embed(url, authorization=f"Bearer {self.key.secret}")

    @property
    def resources(self) -> dict[str, str]:
        """The physical IDs of the stack's resources, by logical ID."""
        found = self.aws.client("cloudformation").describe_stack_resources(StackName=self.name)["StackResources"]
        return {each["LogicalResourceId"]: each["PhysicalResourceId"] for each in found}

    @property
    def live_version(self) -> str:
        """The version that the alias leads to."""
        alias = self.aws.client("lambda").get_alias(FunctionName=self.outputs()["FunctionName"], Name="live")
        return str(alias["FunctionVersion"])

    def versions(self) -> list[str]:
        """Return the published versions, oldest first."""
        listed = self.aws.client("lambda").list_versions_by_function(FunctionName=self.outputs()["FunctionName"])
        return [each["Version"] for each in listed["Versions"] if each["Version"] != "$LATEST"]
