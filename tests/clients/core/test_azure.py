"""The official Python client for Azure, which names the model in the path and sends the key as `api-key`."""

import secrets
from collections.abc import Iterator
from hashlib import sha256

import pytest
from openai import AuthenticationError, AzureOpenAI

from tests.clients.conftest import MODEL, serve

KEY = f"sk-{secrets.token_hex(32)}"


@pytest.fixture(scope="module")
def url_with_key() -> Iterator[str]:
    with serve(API_KEYS=f"alice:{sha256(KEY.encode()).hexdigest()}") as address:
        yield address


def azure(url: str, key: str = KEY) -> AzureOpenAI:
    return AzureOpenAI(azure_endpoint=url.removesuffix("/v1"), api_version="2024-10-21", api_key=key)


@pytest.mark.parametrize("deployment", [MODEL, "text-embedding-3-small"])
@pytest.mark.parametrize("options", [{}, {"encoding_format": "float"}])
def test_every_encoding_gives_the_golden_vectors(url_with_key, golden, deployment, options):
    with azure(url_with_key) as client:
        response = client.embeddings.create(model=deployment, input=golden.texts, **options)
    golden.check([row.embedding for row in response.data])


def test_wrong_key_is_rejected(url_with_key):
    with azure(url_with_key, f"{KEY}0") as client, pytest.raises(AuthenticationError, match="API key"):
        client.embeddings.create(model=MODEL, input="a text")
