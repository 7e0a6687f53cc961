"""How many inputs were tried, for `make report`."""

import pytest

from tests.fuzz import TRIED


@pytest.fixture(autouse=True)
def count(record_property):
    before = TRIED.copy()
    yield
    for name, tried in (TRIED - before).items():
        record_property("tried", f"{name}|{tried}")
