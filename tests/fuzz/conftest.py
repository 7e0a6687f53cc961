"""Records how many inputs were checked, for `make report`."""

import pytest

from tests.fuzz import EXAMPLES


@pytest.fixture(autouse=True)
def record_examples(record_property):
    before = EXAMPLES.copy()
    yield
    for name, examples in (EXAMPLES - before).items():
        record_property("tried", f"{name}|{examples}")
