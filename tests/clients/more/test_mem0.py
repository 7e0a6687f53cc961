"""Mem0, which stores the texts as they are: there is no chat model here to extract facts from them."""

import pytest
from mem0 import Memory

from tests.clients.conftest import MODEL


@pytest.fixture
def memory(url, tmp_path, monkeypatch) -> Memory:
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    embedder = {"provider": "openai", "config": {"model": MODEL, "openai_base_url": url, "embedding_dims": 384}}
    store = {"provider": "qdrant", "config": {"path": str(tmp_path / "qdrant"), "embedding_model_dims": 384}}
    history = str(tmp_path / "history.db")
    return Memory.from_config({"embedder": embedder, "vector_store": store, "history_db_path": history})


def test_texts_and_batches_give_the_golden_vectors(memory, golden):
    golden.check([memory.embedding_model.embed(text) for text in golden.texts[:10]])
    golden.check(memory.embedding_model.embed_batch(golden.texts))


def test_memory_is_found_by_its_text(memory, golden):
    for text in golden.texts[:10]:
        memory.add(text, user_id="alice", infer=False)
    found = memory.search(golden.texts[4], filters={"user_id": "alice"}, top_k=1)
    assert found["results"][0]["memory"] == golden.texts[4]
