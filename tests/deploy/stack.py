"""A deployed stack, as its callers and its owner see it."""

import json
from dataclasses import dataclass

import httpx2
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.deploy.aws import REGION, Aws

MODEL = "all-MiniLM-L6-v2"
BODY = json.dumps({"model": MODEL, "input": "hello"})


@dataclass(frozen=True)
class Key:
    """An API key: what a caller sends, and the pair that is deployed."""

    secret: str
    pair: str


@dataclass(frozen=True)
class Stack:
    """A deployed stack: its name, its AWS, an HTTP client that trusts it, and the API key that it was deployed with."""

    name: str
    aws: Aws
    http: httpx2.Client
    key: Key

    def outputs(self) -> dict[str, str]:
        """Return the stack's outputs."""
        (stack,) = self.aws.client("cloudformation").describe_stacks(StackName=self.name)["Stacks"]
        return {each["OutputKey"]: each["OutputValue"] for each in stack["Outputs"]}

    @property
    def url(self) -> str:
        """The base URL for OpenAI clients."""
        return self.outputs()["BaseUrl"]

    @property
    def function(self) -> str:
        """The function's name."""
        return self.outputs()["FunctionName"]

    def embed(self, url: str = "", **headers: str) -> httpx2.Response:
        """Request the embedding of a text, from `BaseUrl` or another base URL."""
        return self.http.post(f"{url or self.url}/embeddings", content=BODY, headers=headers)

    def embed_with_key(self, url: str = "") -> httpx2.Response:
        """Request the embedding of a text with the API key."""
        return self.embed(url, authorization=f"Bearer {self.key.secret}")

    def embed_signed(self) -> httpx2.Response:
        """Request the embedding of a text with a signature by the account's credentials."""
        request = AWSRequest("POST", f"{self.url}/embeddings", data=BODY)
        environment = self.aws.environment
        credentials = Credentials(environment["AWS_ACCESS_KEY_ID"], environment["AWS_SECRET_ACCESS_KEY"])
        SigV4Auth(credentials, "execute-api", REGION).add_auth(request)
        return self.embed(**dict(request.headers.items()))

    def models(self) -> list[str]:
        """Return the names that the service lists."""
        listed = self.http.get(f"{self.url}/models", headers={"authorization": f"Bearer {self.key.secret}"})
        return [each["id"] for each in listed.json()["data"]]

    def versions(self) -> list[str]:
        """Return the function's published versions, oldest first."""
        listed = self.aws.client("lambda").list_versions_by_function(FunctionName=self.function)["Versions"]
        return [each["Version"] for each in listed if each["Version"] != "$LATEST"]

    @property
    def live_version(self) -> str:
        """The version that the alias leads to."""
        return str(self.aws.client("lambda").get_alias(FunctionName=self.function, Name="live")["FunctionVersion"])

    def point_alias_to(self, version: str) -> None:
        """Lead the alias to another version, as docs/operations.md says."""
        self.aws.client("lambda").update_alias(FunctionName=self.function, Name="live", FunctionVersion=version)

    def image_of(self, version: str) -> str:
        """Return the image of a version."""
        found = self.aws.client("lambda").get_function(FunctionName=self.function, Qualifier=version)
        return str(found["Code"]["ImageUri"])
