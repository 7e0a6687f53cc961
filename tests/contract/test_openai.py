"""The official client against the app on a loopback port."""

from base64 import b64decode
from collections.abc import Iterator

import numpy as np
import openai
import pytest

from tests import tiny

TEXTS = ["the food was good", "a b c", " "]


@pytest.fixture(scope="module")
def openai_client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def expected() -> np.ndarray:
    return tiny.embedder().embed(TEXTS).vectors


@pytest.mark.parametrize("options", [{}, {"encoding_format": "float"}, {"encoding_format": "base64"}])
def test_every_encoding_carries_the_same_vectors(openai_client, expected, options):
    answer = openai_client.embeddings.create(model="tiny", input=TEXTS, **options)
    rows = [row.embedding for row in answer.data]
    if options.get("encoding_format") == "base64":
        rows = [np.frombuffer(b64decode(row), "<f4") for row in rows]
    np.testing.assert_array_equal(np.array(rows, np.float32), expected)
    assert [row.index for row in answer.data] == [0, 1, 2]
    assert answer.model == "tiny"
    assert (answer.usage.prompt_tokens, answer.usage.total_tokens) == (13, 13)


def test_token_ids_give_the_texts_vector(openai_client, expected):
    ids = [tiny.OPENING, *map(tiny.WORDS.index, "abc"), tiny.CLOSING]
    for given in (ids, [ids]):
        (row,) = openai_client.embeddings.create(model="tiny", input=given).data
        np.testing.assert_array_equal(np.array(row.embedding, np.float32), expected[1])


def test_dimensions(openai_client):
    assert len(openai_client.embeddings.create(model="tiny", input="a", dimensions=8).data[0].embedding) == 8
    with pytest.raises(openai.BadRequestError, match="not between 1 and 32") as refused:
        openai_client.embeddings.create(model="tiny", input="a", dimensions=33)
    assert refused.value.param == "dimensions"


def test_an_alias_is_answered_by_the_model_it_stands_for(openai_client):
    assert openai_client.embeddings.create(model="text-embedding-ada-002", input="a").model == "tiny"


def test_an_unknown_model_is_not_found(openai_client):
    with pytest.raises(openai.NotFoundError, match="model not found") as refused:
        openai_client.embeddings.create(model="nope", input="a")
    assert refused.value.code == "model_not_found"


def test_models_are_listed_with_their_aliases(openai_client):
    listed = {model.id: model for model in openai_client.models.list()}
    assert set(listed) == {"tiny", "someone/tiny", "text-embedding-ada-002"}
    assert any("embed" in name for name in listed)
    described = openai_client.models.retrieve("someone/tiny").model_dump()
    assert described == listed["someone/tiny"].model_dump()
    assert (described["root"], described["dimensions"], described["max_tokens"]) == ("tiny", 32, 16)


def test_a_response_says_which_model_made_it_and_how_long_it_took(openai_client):
    headers = openai_client.embeddings.with_raw_response.create(model="tiny", input="a").headers
    assert headers["x-model-digest"] == f"sha256:{tiny.artifacts().digest}"
    assert headers["x-request-id"]
    assert [part.split(";")[0] for part in headers["server-timing"].split(", ")] == ["tokenize", "infer", "encode"]
