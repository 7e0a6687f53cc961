"""JSON Lines: every row once and in order, whatever the ranges cut, and rejects instead of crashes."""

import json
import tempfile
from itertools import pairwise
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from handler.bulk.formats import split
from tests.fuzz import TEXTS
from tests.unit.bulk.files import COMPRESS, put, rows_of

ENDS = st.sampled_from([b"\n", b"\r\n", b"\n\n", b"\n \t\r\n"])


@given(
    texts=st.lists(TEXTS, min_size=1, max_size=8),
    ends=st.lists(ENDS, min_size=8, max_size=8),
    cuts=st.sets(st.integers(0, 400), max_size=20),
    begin=st.sampled_from([b"", b"\xef\xbb\xbf", b"\n\n"]),
    last=st.booleans(),
    ascii_only=st.booleans(),
    suffix=st.sampled_from(list(COMPRESS)),
)
def test_every_row_is_in_exactly_one_range(*, texts, ends, cuts, begin, last, ascii_only, suffix):
    content, expected = begin, []
    for text, end in zip(texts, ends, strict=False):
        expected.append((len(content) if content != b"\xef\xbb\xbf" else 0, {"text": text}))
        content += json.dumps({"text": text}, ensure_ascii=ascii_only).encode() + end
    content = content if last else content.rstrip(b"\r\n \t")
    bounds = sorted({0, len(content), *(cut for cut in cuts if cut < len(content))})
    with tempfile.TemporaryDirectory() as folder:
        storage, entry = put(Path(folder), f"a.jsonl{suffix}", COMPRESS[suffix](content))
        assert rows_of(storage, entry, list(pairwise(bounds))) == (expected, [])
        for rows, size in ((1, 1), (2, 1 << 20), (1000, 7)):
            ranges = split(storage, entry, "text", rows, size)
            assert [start for start, _ in ranges] + [len(content)] == [0] + [end for _, end in ranges]
            assert rows_of(storage, entry, ranges) == (expected, [])
