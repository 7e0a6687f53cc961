"""Semantic Router."""

import pytest
from semantic_router import IndexedRouter, Route
from semantic_router.encoders import OpenAIEncoder


@pytest.fixture
def encoder(url: str) -> OpenAIEncoder:
    return OpenAIEncoder(name="text-embedding-3-small", openai_base_url=url, openai_api_key="none")


def test_texts_give_the_golden_vectors(encoder, golden):
    golden.check(encoder(golden.texts))


def test_router_chooses_the_route_of_a_similar_text(encoder):
    food = Route(name="food", utterances=["The soup was delicious.", "Which wine goes with fish?"])
    weather = Route(name="weather", utterances=["It will rain tomorrow.", "How warm is it outside?"])
    router = IndexedRouter(encoder=encoder, routes=[food, weather])
    assert router("Do you think that it is going to be rainy?").name == "weather"
