"""LlamaIndex."""

import pytest
from llama_index.embeddings.openai_like import OpenAILikeEmbedding

from tests.clients.conftest import MODEL


@pytest.fixture
def model(url: str) -> OpenAILikeEmbedding:
    return OpenAILikeEmbedding(model_name=MODEL, api_base=url, api_key="none")


def test_text_and_query_give_the_golden_vectors(model, golden):
    golden.check([model.get_text_embedding(text) for text in golden.texts[:10]])
    golden.check([model.get_query_embedding(text) for text in golden.texts[:10]])


def test_batch_gives_the_golden_vectors(model, golden):
    golden.check(model.get_text_embedding_batch(golden.texts))
