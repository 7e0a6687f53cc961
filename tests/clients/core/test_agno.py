"""Agno, which requests as many dimensions as it is told, 1536 unless it is."""

import asyncio

from agno.knowledge.embedder.openai import OpenAIEmbedder

from tests.clients.conftest import MODEL


def test_texts_and_batches_give_the_golden_vectors(url, golden):
    embedder = OpenAIEmbedder(id=MODEL, dimensions=384, base_url=url, api_key="none")
    golden.check([embedder.get_embedding(text) for text in golden.texts[:10]])
    vectors, _ = asyncio.run(embedder.async_get_embeddings_batch_and_usage(golden.texts))
    golden.check(vectors)
