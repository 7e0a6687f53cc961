"""LangChain, which by default sends cl100k_base token IDs instead of text."""

from collections.abc import Iterator

import numpy as np
import openai
import pytest
from langchain_openai import OpenAIEmbeddings

from tests.clients.conftest import Golden, serve

SEND_TOKENS: dict = {}
SEND_TEXT = {"check_embedding_ctx_length": False}


@pytest.fixture(scope="module")
def long_text(golden: Golden) -> str:
    return " ".join(golden.texts * 2)[:20_000]


@pytest.fixture(scope="module")
def error_url() -> Iterator[str]:
    with serve(LONG_INPUT="error") as address:
        yield address


def embeddings(url: str, **options: bool) -> OpenAIEmbeddings:
    return OpenAIEmbeddings(base_url=url, api_key="none", **options)


@pytest.mark.parametrize(("options", "kind"), [(SEND_TOKENS, list), (SEND_TEXT, str)])
def test_documents_and_queries_get_the_vectors_of_their_plain_text(relay, golden, options, kind):
    model = embeddings(relay.url, **options)
    golden.check(model.embed_documents(golden.texts))
    golden.check([model.embed_query(text) for text in golden.texts[:10]])
    assert {type(item) for body in relay.bodies for item in body["input"]} == {kind}


@pytest.mark.parametrize("options", [SEND_TOKENS, SEND_TEXT])
def test_text_of_20000_characters_is_rejected_with_openais_error_message_when_configured(error_url, long_text, options):
    with pytest.raises(openai.BadRequestError, match="maximum context length"):
        embeddings(error_url, **options).embed_query(long_text)


def test_text_of_20000_characters_is_embedded_in_windows(url, long_text):
    tokens, text = (np.array(embeddings(url, **options).embed_query(long_text)) for options in (SEND_TOKENS, SEND_TEXT))
    assert tokens.shape == text.shape == (384,)
    assert np.linalg.norm([tokens, text], axis=1) == pytest.approx(1)
    assert tokens @ text > 0.99
