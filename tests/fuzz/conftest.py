"""How many inputs were tried, for `make report`."""

import pytest

from tests.fuzz import TRIED


@pytest.fixture(autouse=True)
def count(request, record_property):
    name = request.node.originalname
    before = TRIED[name]
    yield
    record_property("tried", f"{name}|{TRIED[name] - before}")
