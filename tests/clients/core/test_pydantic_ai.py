"""Pydantic AI."""

import asyncio

import pytest
from pydantic_ai import Embedder
from pydantic_ai.embeddings.openai import OpenAIEmbeddingModel
from pydantic_ai.providers.openai import OpenAIProvider

from tests.clients.conftest import MODEL


@pytest.fixture
def embedder(url: str) -> Embedder:
    return Embedder(OpenAIEmbeddingModel(MODEL, provider=OpenAIProvider(base_url=url, api_key="none")))


def test_documents_and_queries_give_the_golden_vectors(embedder, golden):
    async def embed() -> None:
        golden.check((await embedder.embed_documents(golden.texts)).embeddings)
        golden.check((await embedder.embed_query(golden.texts[:10])).embeddings)

    asyncio.run(embed())
