"""LlamaIndex's own OpenAI embeddings, which accept other models by `model_name`."""

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
