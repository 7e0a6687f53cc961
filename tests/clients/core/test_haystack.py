"""Haystack."""

from haystack import Document
from haystack.components.embedders import OpenAIDocumentEmbedder, OpenAITextEmbedder
from haystack.utils import Secret

from tests.clients.conftest import MODEL


def test_text_embedder_gives_the_golden_vectors(url, golden):
    embedder = OpenAITextEmbedder(model=MODEL, api_base_url=url, api_key=Secret.from_token("none"))
    golden.check([embedder.run(text)["embedding"] for text in golden.texts[:10]])


def test_document_embedder_gives_the_golden_vectors(url, golden):
    embedder = OpenAIDocumentEmbedder(model=MODEL, api_base_url=url, api_key=Secret.from_token("none"))
    documents = embedder.run([Document(content=text) for text in golden.texts])["documents"]
    golden.check([document.embedding for document in documents])
