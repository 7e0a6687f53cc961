"""LlamaIndex's own OpenAI embeddings, which accept other models by `model_name`."""

import numpy as np
import pytest
from llama_index.core import Document, VectorStoreIndex
from llama_index.embeddings.openai import OpenAIEmbedding

from tests.clients.conftest import MODEL


def test_texts_queries_and_batches_give_the_golden_vectors(url, golden):
    model = OpenAIEmbedding(model_name=MODEL, api_base=url, api_key="none")
    golden.check([model.get_text_embedding(text) for text in golden.texts[:10]])
    golden.check([model.get_query_embedding(text) for text in golden.texts[:10]])
    golden.check(model.get_text_embedding_batch(golden.texts))


def test_index_finds_the_text_itself(url, golden):
    model = OpenAIEmbedding(model_name=MODEL, api_base=url, api_key="none")
    index = VectorStoreIndex.from_documents([Document(text=text) for text in golden.texts], embed_model=model)
    assert index.as_retriever(similarity_top_k=1).retrieve(golden.texts[4])[0].text == golden.texts[4]


def test_chunks_of_the_default_splitter_are_embedded(url, golden):
    model = OpenAIEmbedding(model_name=MODEL, api_base=url, api_key="none")
    text = " ".join(golden.texts * 2)
    index = VectorStoreIndex.from_documents([Document(text=text)], embed_model=model)
    chunks = [node.text for node in index.docstore.docs.values()]
    assert max(len(chunk) for chunk in chunks) > 2000
    vectors = index.vector_store.data.embedding_dict.values()
    assert np.linalg.norm(list(vectors), axis=1) == pytest.approx(np.ones(len(chunks)))
