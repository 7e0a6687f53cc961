"""Chroma, in this process and as a server with its JavaScript client."""

import chromadb
from chromadb.utils.embedding_functions import OpenAIEmbeddingFunction

from tests.clients.conftest import MODEL, run_server


def test_collection_has_the_golden_vectors_and_finds_the_text_itself(url, golden):
    embed = OpenAIEmbeddingFunction(model_name=MODEL, api_base=url, api_key="none")
    collection = chromadb.EphemeralClient().create_collection("texts", embedding_function=embed)
    ids = [str(index) for index in range(len(golden.texts))]
    collection.add(ids=ids, documents=golden.texts)
    golden.check(collection.get(ids, include=["embeddings"])["embeddings"])
    assert collection.query(query_texts=golden.texts[:10], n_results=1)["ids"] == [[each] for each in ids[:10]]


def test_javascript_client_passes_its_tests(run_node, tmp_path):
    with run_server("chroma", "run", "--path", tmp_path) as port:
        run_node("more/chromadb.test.mjs", CHROMA_PORT=str(port))
