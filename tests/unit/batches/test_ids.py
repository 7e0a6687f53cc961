"""IDs: their form, the time in them, and what is none."""

import pytest

from handler.batches.ids import creation_time, is_id, new_id


@pytest.mark.parametrize("kind", ["file-", "batch_", "upload_", "part_"])
def test_an_id_has_its_time_and_sorts_by_it(kind):
    early, late = new_id(kind, 1_780_000_000), new_id(kind, 1_780_000_001)
    assert early < late
    assert creation_time(early) == 1_780_000_000
    assert is_id(kind, early)
    assert new_id(kind, 1) != new_id(kind, 1)


@pytest.mark.parametrize(
    "value",
    [
        *("", "file-", "file-../../x", f"file-{'0' * 31}", f"file-{'0' * 33}", f"file-{'A' * 32}", f"batch_{'0' * 32}"),
        *(f"file-{'0' * 32}\n", f" file-{'0' * 32}", "file-" + "\u0660" * 32, f"file-{'0' * 32}/x"),
        f"file-{'0' * 32}.json",
    ],
)
def test_what_is_no_id_is_none(value):
    assert not is_id("file-", value)
