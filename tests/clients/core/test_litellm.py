"""LiteLLM, which prevents the official client that it uses from requesting base64."""

import litellm
import pytest

from tests.clients.conftest import MODEL


@pytest.mark.parametrize(
    ("options", "sent"),
    [
        ({}, {}),
        ({"encoding_format": None}, {}),
        ({"extra_body": {"encoding_format": None}}, {"encoding_format": None}),  # LiteLLM's default until #38774
        ({"encoding_format": "float"}, {"encoding_format": "float"}),
    ],
)
def test_every_way_to_request_floats_gives_the_golden_vectors(relay, golden, options, sent):
    response = litellm.embedding(f"openai/{MODEL}", golden.texts[:10], api_base=relay.url, api_key="none", **options)
    golden.check([row["embedding"] for row in response.data])
    (body,) = relay.bodies
    assert {name: body[name] for name in body.keys() & {"encoding_format"}} == sent


def test_batch_gives_the_golden_vectors(url, golden):
    texts = golden.texts
    response = litellm.embedding(f"openai/{MODEL}", texts, api_base=url, api_key="none")
    golden.check([row["embedding"] for row in response.data])
