"""JSON Lines: every row once and in order, whatever the ranges cut, and rejects instead of crashes."""

import json
import os
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.bulk.formats import read_range, read_schema, split
from handler.bulk.rows import MAX_ROW_BYTES
from handler.errors import BulkError
from handler.storage.folder import Folder
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


LINES = {
    b'{"text": "good", "n": 1}': "",
    b'{"text": "\xff\xfe", "n": 1}': "invalid_utf8",
    b'{"text": "cut off", "n":': "invalid_json",
    b'{"text": NaN}': "invalid_json",
    b'{"text": "\\ud800"}': "invalid_json",
    b'{"text": "\0"}': "invalid_json",
    b"[" * 5000: "invalid_json",
    b'["text"]': "invalid_json",
    b'"text"': "invalid_json",
    b"null": "invalid_json",
    b'{"text": "a", "n": "1"}': "schema_mismatch",
    b'{"text": "a", "n": 1.5}': "schema_mismatch",
    b'{"text": "a", "n": true}': "schema_mismatch",
    b'{"text": "a", "n": 18446744073709551615}': "schema_mismatch",
    b'{"text": "a", "n": [1]}': "schema_mismatch",
    b'{"text": 5}': "schema_mismatch",
    b'{"text": ["a"]}': "schema_mismatch",
    b'{"text": "a", "unknown": null}': "schema_mismatch",
    b'{"text": "a", "n": null}': "",
    b"{}": "",
    b'{"text": "first", "text": "last"}': "",
}


@pytest.mark.parametrize("suffix", list(COMPRESS))
def test_lines_that_are_no_rows_are_rejected_with_their_position(tmp_path, suffix):
    good = b'{"text": "a", "n": 1}\n' * 150_000  # so many that the sample of 3 MiB does not contain the others
    content = good + b"\n".join(LINES) + b"\n"
    storage, entry = put(tmp_path, f"a.ndjson{suffix}", COMPRESS[suffix](content + good + good))
    schema = read_schema(storage, [entry], "text")
    (rows,) = read_range(storage, entry, len(good), len(content), schema)
    codes = {content[each.position :].partition(b"\n")[0]: each.code for each in rows.rejects}
    assert codes == {line: code for line, code in LINES.items() if code}
    assert all("\n" not in each.message for each in rows.rejects)
    assert rows.batch.to_pylist() == [
        {"text": "good", "n": 1},
        {"text": "a", "n": None},
        {"text": None, "n": None},
        {"text": "last", "n": None},
    ]
    assert len(list(read_range(storage, entry, 0, len(content + good), schema))) == -(-(300_000 + len(LINES)) // 2048)


def test_columns_have_the_types_of_the_samples(tmp_path):
    rows: list[dict[str, Any]] = [
        {"text": None, "int": 1, "double": 1, "bool": True, "null": None, "nested": {"a": [1]}, "mixed": 1},
        {"text": "b", "int": -(2**63), "double": 1.5, "nested": None, "mixed": "é", "late": "x", "big": 2**64 - 1},
        {"text": 7, "int": 2**63 - 1, "double": 2**53 + 1, "mixed": [None, 1.5]},
    ]
    storage, entry = put(tmp_path, "a.json", "\n".join(json.dumps(row) for row in rows).encode())
    schema = read_schema(storage, [entry], "text")
    assert {field.name: str(field.type) for field in schema} == {
        "text": "string",
        "int": "int64",
        "double": "double",
        "bool": "bool",
        "null": "string",
        "nested": "string",
        "mixed": "string",
        "late": "string",
        "big": "string",
    }
    assert [field.name for field in schema if field.metadata] == ["nested", "mixed", "big"]
    read, rejects = rows_of(storage, entry)
    assert [each.code for each in rejects] == ["schema_mismatch"]
    assert [row for _, row in read] == [
        {**dict.fromkeys(schema.names), **rows[0], "nested": '{"a":[1]}', "mixed": "1"},
        {**dict.fromkeys(schema.names), **rows[1], "mixed": '"é"', "big": "18446744073709551615"},
    ]


def test_schema_is_the_union_of_all_files_and_of_their_middle_and_end(tmp_path):
    filler = b'{"text": "a"}\n' * 300_000
    put(tmp_path, "a.jsonl", filler + b'{"text": "a", "middle": 1}\n' + filler + b'{"end": 1}')
    put(tmp_path, "b.jsonl", b'{"text": "a", "other": 1}')
    put(tmp_path, "empty.jsonl", b"")
    storage = Folder(tmp_path)
    assert read_schema(storage, storage.list(), "text").names == ["text", "middle", "end", "other"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"there is no column 'text'; TEXT names one of \[\]"),
        (b"\n\n", "there is no column 'text'"),
        (b'{"body": "a"}', r"there is no column 'text'; TEXT names one of \['body'\]"),
        (b'{"text": 1}\n{"text": {"a": 1}}', "the column 'text' holds no strings; TEXT names the column to embed"),
        (
            b"[\n" + b'{"text": "a"},\n' * 99 + b'{"text": "a"}\n]',
            "this is not JSON Lines, where each line is a JSON object; the line at byte 0: The row",
        ),
        (
            '{"text": "a"}\n'.encode("utf-16"),
            "this is not JSON Lines, where each line is a JSON object; the line at byte 0: The row",
        ),
        (b"\x1f\x8b\x08" + bytes(99), "this is not JSON Lines"),
    ],
)
def test_files_that_are_no_json_lines_are_one_line(tmp_path, content, message):
    storage, entry = put(tmp_path, "a.jsonl", content)
    with pytest.raises(BulkError, match=message) as raised:
        read_schema(storage, [entry], "text")
    assert "\n" not in raised.value.message


def test_row_that_is_too_large_is_rejected_and_every_range_of_it_is_empty(tmp_path):
    large = b'{"text": "' + b"a" * MAX_ROW_BYTES + b'"}'
    fits = b'{"text": "' + b"a" * (MAX_ROW_BYTES - 13) + b'"}\n'
    assert len(fits) == MAX_ROW_BYTES
    content = b'{"text": "b"}\n' + large + b"\n" + fits + large
    storage, entry = put(tmp_path, "a.jsonl", content)
    rows, rejects = rows_of(storage, entry)
    assert [(position, len(row["text"])) for position, row in rows] == [(0, 1), (len(large) + 15, MAX_ROW_BYTES - 13)]
    assert [(each.position, each.code) for each in rejects] == [
        (14, "row_too_large"),
        (len(content) - len(large), "row_too_large"),
    ]


def test_row_of_too_many_values_is_rejected(tmp_path):
    many = b'{"text": "a", "x": [' + b"{}," * 1_000_001 + b"{}]}"
    storage, entry = put(tmp_path, "a.jsonl", b'{"text": "a"}\n' + many)
    rows, rejects = rows_of(storage, entry)
    assert rows == [(0, {"text": "a"})]
    assert [(each.position, each.code) for each in rejects] == [(14, "row_too_large")]


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_damaged_compressed_files_are_one_line(tmp_path, suffix):
    good = COMPRESS[suffix](b'{"text": "a"}\n' * 1000 + json.dumps({"text": os.urandom(500).hex()}).encode())
    damaged = {"cut": good[:-5], "half": good[: len(good) // 2], "tail": good + b"tail", "other": b"{}\n" * 99}
    for name, content in damaged.items():
        storage, entry = put(tmp_path, f"{name}.jsonl{suffix}", content)
        with pytest.raises(
            BulkError, match=rf"{name}.jsonl{suffix}: its \w+ content is damaged or cut off \("
        ) as raised:
            rows_of(storage, entry)
        assert "\n" not in raised.value.message


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_compressed_files_may_have_several_members(tmp_path, suffix):
    content = COMPRESS[suffix](b'{"text": "a"}\n{"te') + COMPRESS[suffix](b"") + COMPRESS[suffix](b'xt": "b"}\n')
    storage, entry = put(tmp_path, f"a.jsonl{suffix}", content)
    rows, rejects = rows_of(storage, entry)
    assert (rows, rejects) == ([(0, {"text": "a"}), (14, {"text": "b"})], [])


@given(
    content=st.binary(max_size=300)
    | st.lists(st.sampled_from([*(line for line in LINES if len(line) < 100), b"\n", b"\r"])).map(b"\n".join)
)
def test_arbitrary_bytes_are_rows_or_rejects(content):
    with tempfile.TemporaryDirectory() as folder:
        storage, entry = put(Path(folder), "a.jsonl", content + b'\n{"text": "a"}' * 100)
        rows, rejects = rows_of(storage, entry)
        lines = [line.strip(b" \t\r") for line in content.removeprefix(b"\xef\xbb\xbf").split(b"\n")]
        assert len(rows) + len(rejects) == len([line for line in lines if line]) + 100
        assert rows_of(
            storage,
            entry,
            [(start, start + 1) for start in range(len(content) + 20)] + [(len(content) + 20, entry.size)],
        ) == (rows, rejects)
