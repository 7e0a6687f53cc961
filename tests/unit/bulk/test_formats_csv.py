"""CSV: every record once and in order, with quoted newlines, CRLF, BOM and whatever else fields contain."""

import csv
import io
import tempfile
from contextlib import suppress
from itertools import accumulate
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.bulk.formats import read_schema, split
from handler.bulk.rows import MAX_ROW_BYTES
from handler.errors import BulkError
from handler.storage.folder import Folder
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


def test_quotes_count_only_at_the_start_of_a_field(tmp_path):
    records = [
        b'text,n\r\n"a ""quoted"" word",1\r\n',
        b'5" pipe,2\r\n',
        b'a "quoted" word,"3"\n',
        b'"ends"late,4\n',
        b'"several\r\nlines, and ""\n""\n",5\n',
        b",\n",
        b"\r\n",
        b'"",""\n',
        b"nul \0 byte,6",
    ]
    storage, entry = put(tmp_path, "a.csv", b"".join(records))
    for size in (1, 30, 1000):
        rows, rejects = rows_of(storage, entry, split(storage, entry, "text", 1000, size))
        assert not rejects
        assert [tuple(row.values()) for _, row in rows] == [
            ('a "quoted" word', "1"),
            ('5" pipe', "2"),
            ('a "quoted" word', "3"),
            ("endslate", "4"),
            ('several\r\nlines, and "\n"\n', "5"),
            ("", ""),
            ("", ""),
            ("nul \0 byte", "6"),
        ]


def test_records_that_are_no_rows_are_rejected(tmp_path):
    records = {
        b"text,n\n": "",
        b"a,1\n": "",
        b"a\n": "schema_mismatch",
        b"a,1,2\n": "schema_mismatch",
        b"\xff,1\n": "invalid_utf8",
        b"a\rb,1\n": "invalid_csv",
        b'"' + b"many, fields, \n" * (2 << 20) + b'",1\n': "row_too_large",
        b"a" * MAX_ROW_BYTES + b',"1\n2"\n': "row_too_large",
        b"b,2\n": "",
    }
    storage, entry = put(tmp_path, "a.csv", b"".join(records))
    rows, rejects = rows_of(storage, entry)
    assert [tuple(row.values()) for _, row in rows] == [("a", "1"), ("b", "2")]
    assert [each.code for each in rejects] == [code for code in records.values() if code]
    positions = dict(zip(records, accumulate(map(len, records), initial=0), strict=False))
    assert [each.position for each in rejects] == [positions[record] for record, code in records.items() if code]


def test_long_fields_are_read(tmp_path):
    storage, entry = put(tmp_path, "a.csv", b"text\n" + b"a" * 200_000)
    ((_, row),), _ = rows_of(storage, entry)
    assert len(row["text"]) == 200_000


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        ([b""], "the files are empty; the first line of a CSV file names its columns"),
        ([b"text,text\n"], "two columns have the name 'text'; rename one"),
        ([b"\xff\n"], "0.csv: its header cannot be read: The row is not UTF-8"),
        ([b"text;id\n"], r"there is no column 'text'; TEXT names one of \['text;id'\]"),
        ([b"text\na", b"", b"text,id\n"], r"2.csv: its header is \['text', 'id'\], but that of 0.csv is \['text'\]"),
    ],
)
def test_headers_must_be_equal(tmp_path, contents, message):
    for number, content in enumerate(contents):
        put(tmp_path, f"{number}.csv", content)
    storage = Folder(tmp_path)
    with pytest.raises(BulkError, match=message):
        read_schema(storage, storage.list(), "text")


def test_empty_files_and_headers_alone_have_no_ranges(tmp_path):
    for content in (b"", b"text,n", b"\n\ntext,n\r\n\r\n"):
        storage, entry = put(tmp_path, "a.csv", content)
        assert split(storage, entry, "text") == []


def test_quotes_that_are_not_closed_are_an_error(tmp_path):
    storage, entry = put(tmp_path, "a.csv", b'text,n\na,1\nb,"2\nc,3\n')
    with pytest.raises(BulkError, match=r"a.csv: the quotes of the row at byte 11 are not closed; correct that row"):
        split(storage, entry, "text")


@given(content=st.binary(max_size=100) | st.text('"\n\r,\0aé', max_size=100).map(str.encode))
def test_arbitrary_bytes_are_rows_or_rejects_or_one_line(content):
    with tempfile.TemporaryDirectory() as folder:
        storage, entry = put(Path(folder), "a.csv", b"text,n\n" + content)
        with suppress(BulkError):
            ranges = split(storage, entry, "text", 1, 1)
            assert rows_of(storage, entry, ranges) == rows_of(storage, entry)
