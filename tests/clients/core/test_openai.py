"""The official Python client."""

import asyncio
from base64 import b64decode
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import openai
import pytest

from tests.clients.conftest import MODEL


@pytest.fixture
def client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=url, api_key="none") as client:
        yield client


@pytest.mark.parametrize("options", [{}, {"encoding_format": "float"}, {"encoding_format": "base64"}])
def test_every_encoding_gives_the_golden_vectors(client, golden, options):
    response = client.embeddings.create(model=MODEL, input=golden.texts, **options)
    rows = [row.embedding for row in response.data]
    if options.get("encoding_format") == "base64":
        rows = [np.frombuffer(b64decode(row), "<f4") for row in rows]
    golden.check(rows)
    assert [row.index for row in response.data] == list(range(len(golden.texts)))
    assert response.model == MODEL
    assert response.usage.prompt_tokens == response.usage.total_tokens > len(golden.texts)


def test_async_client_gives_the_golden_vectors(url, golden):
    async def embed_all() -> list[list[float]]:
        async with openai.AsyncOpenAI(base_url=url, api_key="none") as client:
            requests = (client.embeddings.create(model=MODEL, input=text) for text in golden.texts[:10])
            return [response.data[0].embedding for response in await asyncio.gather(*requests)]

    golden.check(asyncio.run(embed_all()))


def test_api_documents_example_works_unchanged(client, golden):
    response = client.embeddings.create(
        input="The food was delicious and the waiter...", model="text-embedding-ada-002", encoding_format="float"
    )
    golden.check([response.data[0].embedding])


def test_fewer_dimensions_give_the_first_ones_at_unit_length(client, golden):
    response = client.embeddings.create(model=MODEL, input=golden.texts[0], dimensions=128)
    for expected, tolerance in ((golden.served, 1e-6), (golden.vectors, 0.01)):
        first = expected[0, :128] / np.linalg.norm(expected[0, :128])
        assert first @ response.data[0].embedding == pytest.approx(1, abs=tolerance)


def test_another_output_type_needs_an_explicit_encoding(client, golden):
    asked = {"model": MODEL, "input": golden.texts, "extra_body": {"output_dtype": "int8"}}
    with pytest.raises(openai.BadRequestError, match="pass encoding_format 'float'"):
        client.embeddings.create(**asked)  # the client would decode the default, base64, as float32
    rows = [row.embedding for row in client.embeddings.create(**asked, encoding_format="float").data]
    cosines = np.sum(np.array(rows, np.int8) * golden.served, axis=1) / np.linalg.norm(rows, axis=1)
    assert cosines.min() > 0.9995


def test_raw_response_headers_name_the_models_digest_and_the_timings(client, golden):
    response = client.embeddings.with_raw_response.create(model=MODEL, input=golden.texts[0])
    assert response.headers["x-model-digest"] == client.models.retrieve(MODEL).digest
    assert response.headers["x-request-id"]
    assert "infer;dur=" in response.headers["server-timing"]
    golden.check([response.parse().data[0].embedding])


# The client's default first delay is under a second, and it treats `retry-after: 0` as absent.
@pytest.mark.parametrize("errors", [[429], [503], [503, 429]])
def test_rejected_request_is_retried_after_the_retry_after_header(relay, golden, errors):
    relay.errors[:] = errors
    with openai.OpenAI(base_url=relay.url, api_key="none") as client:
        response = client.embeddings.create(model=MODEL, input=golden.texts[0])
    golden.check([response.data[0].embedding])
    assert len(relay.times) == len(errors) + 1
    assert all(later - earlier >= 1 for earlier, later in pairwise(relay.times))


def test_models_are_listed_and_described(client):
    listed = {model.id: model for model in client.models.list()}
    assert {MODEL, "text-embedding-ada-002", "text-embedding-3-small"} <= set(listed)
    for name, model in listed.items():
        assert model.model_dump().items() <= client.models.retrieve(name).model_dump().items()  # plus a canary
