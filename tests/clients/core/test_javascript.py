"""The JavaScript clients: each *.test.mjs file runs in its own Node process."""

import pytest


@pytest.mark.parametrize("name", ["ai-sdk", "batches", "langchain", "openai"])
def test_javascript_client_passes_its_tests(run_node, name):
    run_node(f"core/{name}.test.mjs")
