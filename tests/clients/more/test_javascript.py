"""More JavaScript clients: each *.test.mjs file runs in its own Node process. test_chromadb.py runs Chroma's."""

import pytest


@pytest.mark.parametrize("name", ["ai-sdk", "llamaindex", "openai"])
def test_javascript_client_passes_its_tests(run_node, name):
    run_node(f"more/{name}.test.mjs")
