"""The Python examples of the README and docs/, against the real model."""

import re
from pathlib import Path

import pytest

from handler.api.app import create_app
from handler.models.catalog import Catalog
from handler.settings import Settings
from tests.conftest import serve

ROOT = Path(__file__).parents[2]
BASE_URL = "http://127.0.0.1:3000/v1"


@pytest.mark.parametrize("page", ["README.md", "docs/models.md", "docs/output-types.md"])
def test_python_examples_run(page, embedder):
    """Run the blocks of a page, in order, as one program; those for stores are in tests/bulk."""
    text, _, _ = (ROOT / page).read_text().partition("\n## Vector stores\n")
    code = "\n".join(re.findall(r"```python\n(.*?)```", text, re.DOTALL))
    assert BASE_URL in code
    settings = Settings(auth_mode="none")
    with serve(create_app(settings, Catalog.of([embedder(1)], settings))) as url:
        exec(compile(code.replace(BASE_URL, f"{url}/v1"), page, "exec"), {})  # noqa: S102 - the examples


def test_vectors_of_the_shell_examples_are_those_of_the_model(embedder):
    texts = ("The food was delicious and the waiter...", "It costs $50")
    for vector in embedder(1).embed(texts).vectors:
        beginning = ",".join(re.sub(r"(\.\d{4})\d*", r"\1…", f"{component:.8f}") for component in vector[:2])
        assert f"[{beginning},…]" in (ROOT / "README.md").read_text()
