"""DSPy, through LiteLLM."""

import dspy

from tests.clients.conftest import MODEL


def test_texts_give_the_golden_vectors(url, golden):
    embedder = dspy.Embedder(f"openai/{MODEL}", api_base=url, api_key="none")
    golden.check(embedder(golden.texts))
    golden.check([embedder(text) for text in golden.texts[:10]])


def test_search_finds_the_text_itself(url, golden):
    embedder = dspy.Embedder(f"openai/{MODEL}", api_base=url, api_key="none")
    search = dspy.retrievers.Embeddings(corpus=golden.texts, embedder=embedder, k=3)
    assert search(golden.texts[4]).passages[0] == golden.texts[4]
