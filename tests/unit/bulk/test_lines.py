"""Lines of compressed files: the ranges of a file in order read it once, and in any order they have the same lines."""

import tempfile
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.bulk.lines import open_lines
from handler.storage.entries import Entry, Storage
from handler.storage.folder import Folder
from tests.unit.bulk.files import COMPRESS, put


def lines_of(storage: Storage, entry: Entry, start: int, end: int) -> list[tuple[int, bytes | None]]:
    with open_lines(storage, entry, start, end) as lines:
        return list(lines.until(end))


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_ranges_in_order_read_a_compressed_file_once(tmp_path, suffix, monkeypatch):
    content = b"".join(b"line %d\n" % i for i in range(1000))
    storage, entry = put(tmp_path, f"a{suffix}", COMPRESS[suffix](content))
    opened: list[int] = []
    stream = Folder.stream

    def counted(storage: Folder, entry: Entry, start: int = 0) -> BinaryIO:
        opened.append(start)
        return stream(storage, entry, start)

    monkeypatch.setattr(Folder, "stream", counted)
    ranges = list(pairwise([*range(0, len(content), 700), len(content)]))
    lines = [line for start, end in ranges for line in lines_of(storage, entry, start, end)]
    assert b"".join(line or b"" for _, line in lines) == content
    assert len(opened) == 1
    assert lines_of(storage, entry, 0, 10) == lines[:2]  # goes back, so it is opened again
    assert lines_of(storage, entry, 5000, 5010) == [line for line in lines if 5000 <= line[0] < 5010]  # skips lines
    assert len(opened) == 2


def test_changed_file_is_not_the_one_that_is_still_open(tmp_path):
    storage, entry = put(tmp_path, "a.gz", COMPRESS[".gz"](b"a\nb\n"))
    assert lines_of(storage, entry, 0, 2) == [(0, b"a\n")]
    storage.write("a.gz", COMPRESS[".gz"](b"c\nd\n"))
    assert lines_of(storage, storage.entry("a.gz"), 2, 4) == [(2, b"d\n")]


@given(
    content=st.text("a\n", max_size=40).map(str.encode),
    cuts=st.sets(st.integers(0, 40), max_size=8),
    order=st.randoms(use_true_random=False),
    suffix=st.sampled_from(list(COMPRESS)),
)
def test_ranges_in_any_order_have_the_same_lines(content, cuts, order, suffix):
    bounds = sorted({0, len(content), *(cut for cut in cuts if cut < len(content))})
    ranges = list(pairwise(bounds))
    order.shuffle(ranges)
    with tempfile.TemporaryDirectory() as folder:
        storage, entry = put(Path(folder), f"a{suffix}", COMPRESS[suffix](content))
        lines = sorted(line for start, end in ranges for line in lines_of(storage, entry, start, end))
    assert b"".join(line or b"" for _, line in lines) == content
    assert [line for _, line in lines] == content.splitlines(keepends=True)
