"""LangChain, which by default sends not the text but its cl100k_base token ids."""

from collections.abc import Iterator

import numpy as np
import openai
import pytest
from langchain_openai import OpenAIEmbeddings

from tests.clients.conftest import Golden, serve

TOKENS: dict = {}
TEXT = {"check_embedding_ctx_length": False}


@pytest.fixture(scope="module")
def long_text(golden: Golden) -> str:
    return " ".join(golden.texts * 2)[:20_000]


@pytest.fixture(scope="module")
def windows() -> Iterator[str]:
    with serve(LONG_INPUT="window") as address:
        yield address


def embeddings(url: str, **options: bool) -> OpenAIEmbeddings:
    return OpenAIEmbeddings(base_url=url, api_key="none", **options)


@pytest.mark.parametrize(("options", "kind"), [(TOKENS, list), (TEXT, str)])
def test_documents_and_queries_give_the_plain_texts_vectors(relay, golden, options, kind):
    model = embeddings(relay.url, **options)
    golden.check(model.embed_documents(golden.texts))
    golden.check([model.embed_query(text) for text in golden.texts[:10]])
    assert {type(item) for body in relay.bodies for item in body["input"]} == {kind}


@pytest.mark.parametrize("options", [TOKENS, TEXT])
def test_a_text_of_20000_characters_is_refused_in_words_that_clients_know(url, long_text, options):
    with pytest.raises(openai.BadRequestError, match="maximum context length"):
        embeddings(url, **options).embed_query(long_text)


def test_a_text_of_20000_characters_is_embedded_in_windows_where_the_operator_says_so(windows, long_text):
    tokens, text = (np.array(embeddings(windows, **options).embed_query(long_text)) for options in (TOKENS, TEXT))
    assert tokens.shape == text.shape == (384,)
    assert np.linalg.norm([tokens, text], axis=1) == pytest.approx(1)
    assert tokens @ text > 0.99
