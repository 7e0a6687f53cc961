"""CSV: every record once and in order, with quoted newlines, CRLF, BOM and whatever else fields contain."""

import csv
import io
import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from handler.bulk.formats import split
from tests.fuzz import TEXTS
from tests.unit.bulk.files import COMPRESS, put, rows_of

FIELDS = TEXTS | st.text('"\n\r,\t a', max_size=6)


@given(
    records=st.lists(st.tuples(FIELDS, FIELDS), max_size=8),
    terminator=st.sampled_from(["\n", "\r\n"]),
    quoting=st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]),
    begin=st.sampled_from(["", "\ufeff", "\r\n"]),
    last=st.booleans(),
    suffix=st.sampled_from(list(COMPRESS)),
    kind=st.sampled_from(["csv", "tsv"]),
)
def test_every_record_is_in_exactly_one_range(*, records, terminator, quoting, begin, last, suffix, kind):
    if any("\r" in field for record in records for field in record):
        quoting = csv.QUOTE_ALL  # Python's writer leaves a carriage return unquoted
    file = io.StringIO(newline="")
    file.write(begin)
    writer = csv.writer(file, "excel-tab" if kind == "tsv" else "excel", quoting=quoting, lineterminator=terminator)
    writer.writerow(("te\nxt", "o,ther"))
    expected = []
    for record in records:
        expected.append((len(file.getvalue().encode()), dict(zip(("te\nxt", "o,ther"), record, strict=True))))
        writer.writerow(record)
    content = file.getvalue()
    content = content if last else content.removesuffix(terminator)
    with tempfile.TemporaryDirectory() as folder:
        storage, entry = put(Path(folder), f"a.{kind}{suffix}", COMPRESS[suffix](content.encode()))
        for rows, size in ((1, 1), (2, 1 << 20), (1000, 7), (1000, 1 << 20)):
            ranges = split(storage, entry, "te\nxt", rows, size)
            assert rows_of(storage, entry, ranges, "te\nxt") == (expected, [])
