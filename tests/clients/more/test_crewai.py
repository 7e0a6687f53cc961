"""CrewAI's knowledge, with the embedder that a crew is given."""

import pytest
from crewai.knowledge.knowledge import Knowledge
from crewai.knowledge.source.string_knowledge_source import StringKnowledgeSource
from crewai.rag.embeddings.factory import build_embedder

from tests.clients.conftest import MODEL


@pytest.fixture
def embedder(url: str) -> dict:
    return {"provider": "openai", "config": {"model_name": MODEL, "api_base": url, "api_key": "none"}}


def test_embedder_gives_the_golden_vectors(embedder, golden):
    golden.check(build_embedder(embedder)(golden.texts))


def test_knowledge_finds_the_text_itself(embedder, golden):
    sources = [StringKnowledgeSource(content=text) for text in golden.texts[:10]]
    knowledge = Knowledge(collection_name="texts", sources=sources, embedder=embedder)
    knowledge.add_sources()
    assert knowledge.query([golden.texts[4]], results_limit=1)[0]["content"] == golden.texts[4]
