"""Pages: full where that takes few reads, and never empty where there are more items."""

import pytest

from handler.batches import page
from handler.batches.page import Page, read_page

IDS = [f"{number:03d}" for number in range(200)]


def every(step: int, reads: list[str]):
    """Return a function that finds each n-th item only, and notes what it reads."""

    def read(item: str) -> str | None:
        reads.append(item)
        return item if int(item) % step == step - 1 else None

    return read


@pytest.mark.parametrize("limit", [1, 2, 19, 20, 21, 200, 1000])
@pytest.mark.parametrize("step", [1, 10, 100, 199])
def test_pages_are_full_and_their_order_is_kept(limit, step):
    reads: list[str] = []
    all_items = [item for item in IDS if int(item) % step == step - 1]
    found = read_page(IDS, every(step, reads), limit)
    assert found.items == all_items[:limit]
    last = int(found.items[-1])
    assert found.has_more is (len(found.items) == limit and last < 199)
    assert len(reads) <= last + page.MAX_CHUNK


def test_few_are_read_for_a_small_page():
    reads: list[str] = []
    assert read_page(IDS, every(1, reads), 3).items == IDS[:3]
    assert len(reads) <= 16


def test_reads_are_limited_once_something_is_found(monkeypatch):
    monkeypatch.setattr(page, "MAX_READS", 100)
    assert read_page(IDS, every(50, []), 10) == Page(["049", "099"], has_more=True)
    assert read_page(IDS, every(150, []), 10) == Page(["149"], has_more=True)
    assert read_page(IDS, every(500, []), 10) == Page([], has_more=False)
    assert read_page([], every(1, []), 10) == Page([], has_more=False)
