"""LiteLLM's proxy between the official client and the service."""

import secrets
from collections.abc import Iterator

import openai
import pytest

from tests.clients.conftest import run_server

CONFIGURATION = """
model_list:
  - model_name: embeddings
    litellm_params: {model: openai/all-MiniLM-L6-v2, api_base: URL, api_key: none}
"""


@pytest.fixture(scope="module")
def client(url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[openai.OpenAI]:
    """Start the proxy with one model; yield its client."""
    configuration = tmp_path_factory.mktemp("proxy") / "config.yaml"
    configuration.write_text(CONFIGURATION.replace("URL", url))
    key = f"sk-{secrets.token_hex(32)}"
    with (
        run_server("litellm", "--config", configuration, "--host", "127.0.0.1", LITELLM_MASTER_KEY=key) as port,
        openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key=key) as client,
    ):
        yield client


@pytest.mark.parametrize("options", [{}, {"encoding_format": "float"}])
def test_texts_give_the_golden_vectors(client, golden, options):
    response = client.embeddings.create(model="embeddings", input=golden.texts, **options)
    golden.check([row.embedding for row in response.data])
