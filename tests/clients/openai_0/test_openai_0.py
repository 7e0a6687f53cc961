"""The official Python client before version 1."""

import openai
import pytest

from tests.clients.conftest import MODEL


@pytest.mark.parametrize("options", [{}, {"encoding_format": "float"}])
def test_every_encoding_gives_the_golden_vectors(url, golden, options):
    openai.api_base, openai.api_key = url, "none"
    response = openai.Embedding.create(model=MODEL, input=golden.texts, **options)
    golden.check([row["embedding"] for row in response["data"]])
