import pytest

from handler.errors import ModelNotFoundError
from handler.models.catalog import Catalog
from handler.settings import Settings
from tests import tiny


def test_names_map_ids_and_aliases_to_models_and_configured_aliases_to_the_default():
    first, second = (
        tiny.embedder(1, id="first", aliases=("one",)),
        tiny.embedder(1, id="second", aliases=("one", "two")),
    )
    catalog = Catalog.of([first, second], Settings(aliases=("ada", "second")))
    assert catalog.default is first
    assert {name: served.name for name, served in catalog.names().items()} == {
        "first": "first",
        "second": "second",
        "one": "first",
        "two": "second",
        "ada": "first",
    }


def test_unknown_model_error_lists_the_served_names():
    with pytest.raises(ModelNotFoundError, match=r"^model not found: 'x' .* served: tiny, someone/tiny"):
        Catalog.of([tiny.embedder(1)], Settings(aliases=())).get("x")
