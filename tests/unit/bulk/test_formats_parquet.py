"""Parquet: every row once and in order, whatever rows and row groups a range cuts, and every column as it is."""

import random
import tempfile
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.parquet.encryption as pe
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.bulk.formats import read_range, read_schema, split
from handler.bulk.output import ParquetWriter, output_batch, output_schema
from handler.bulk.rows import MAX_BYTES
from handler.errors import BulkError
from handler.storage.entries import Entry, Storage
from handler.storage.folder import Folder
from tests.fuzz import TEXTS
from tests.unit.bulk.files import put, rows_of


@given(
    texts=st.lists(TEXTS | st.none(), max_size=40),
    group=st.integers(1, 50),
    cuts=st.sets(st.integers(0, 40), max_size=5),
    rows=st.integers(1, 50),
    size=st.integers(1, 2000),
)
def test_every_row_is_in_exactly_one_range(texts, group, cuts, rows, size):
    expected = [(position, {"text": text, "n": position}) for position, text in enumerate(texts)]
    table = pa.table({"text": pa.array(texts, pa.string()), "n": range(len(texts))})
    bounds = sorted({0, len(texts), *(cut for cut in cuts if cut < len(texts))})
    with tempfile.TemporaryDirectory() as folder:
        pq.write_table(table, f"{folder}/a.parquet", row_group_size=group)
        storage, entry = put(Path(folder), "a.parquet", Path(folder, "a.parquet").read_bytes())
        assert rows_of(storage, entry, list(pairwise(bounds))) == (expected, [])
        ranges = split(storage, entry, "text", rows, size)
        assert [0, *(end for _, end in ranges)][-1] == len(texts)
        assert all(end == start for (_, end), (start, _) in pairwise(ranges))
        assert rows_of(storage, entry, ranges) == (expected, [])


def write(folder: Path, name: str, table: pa.Table, **options: object) -> tuple[Storage, Entry]:
    pq.write_table(table, folder / name, **options)
    storage = Folder(folder)
    return storage, storage.entry(name)


def test_columns_of_every_type_stay_as_they_are(tmp_path):
    texts = ["é", "b", None]
    dictionary = pa.array(["x", "y", "x"]).dictionary_encode()
    table = pa.table(
        {
            "string": texts,
            "large": pa.array(texts, pa.large_string()),
            "view": pa.array(texts, pa.string_view()),
            "dictionary": dictionary,
            "nested": [{"a": [1, None], "b": {"c": "d"}}, None, {"a": [], "b": None}],
            "list": pa.array([[1.5], [], None], pa.list_(pa.float32())),
            "fixed": pa.array([[1, 2], [3, 4], None], pa.list_(pa.int32(), 2)),
            "map": pa.array([[("k", 1)], [], None], pa.map_(pa.string(), pa.int8())),
            "time": pa.array([1, None, 3], pa.timestamp("ns", "Europe/Berlin")),
            "decimal": pa.array([1, None, 3], pa.decimal128(30, 2)),
            "binary": [b"\xff", None, b""],
            "null": pa.nulls(3),
            "half": pa.array([1, None, 3], pa.float16()),
            "": [1, 2, 3],
        }
    )
    storage, entry = write(tmp_path, "a.parquet", table)
    for text in ("string", "large", "view", "dictionary"):
        schema = read_schema(storage, [entry], text)
        ((batch,),) = [[rows.batch for rows in read_range(storage, entry, 0, 3, schema)]]
        with ParquetWriter(tmp_path / "out", output_schema(schema, "columns", 2), {}) as writer:
            writer.write(output_batch(batch, np.ones((3, 2), np.float32), [], "", output_schema(schema, "columns", 2)))
        out = pq.read_table(tmp_path / "out")
        assert out.drop(["embedding"]).equals(pq.read_table(tmp_path / "a.parquet"))
        assert [str(kind) for kind in out.schema.types[:4]] == [str(kind) for kind in table.schema.types[:4]]


def test_schemas_of_all_files_must_be_equal(tmp_path):
    rows = {"text": ["a"], "n": [1]}
    for number, table in enumerate([pa.table(rows), pa.table(rows).replace_schema_metadata({"a": "b"})]):
        write(tmp_path, f"{number}.parquet", table)
    storage = Folder(tmp_path)
    assert read_schema(storage, storage.list(), "text") == pa.schema({"text": pa.string(), "n": pa.int64()})
    for third, difference in (
        ({"text": ["a"], "n": [1.5]}, "the column 'n' is double, but int64"),
        ({"text": ["a"]}, "the column 'n' is missing, but int64"),
        ({**rows, "more": [1]}, "the column 'more' is int64, but missing"),
        ({"n": [1], "text": ["a"]}, "its columns are in another order than"),
    ):
        write(tmp_path, "third.parquet", pa.table(third))
        with pytest.raises(BulkError, match=f"/third.parquet: {difference} in 0.parquet"):
            read_schema(storage, storage.list(), "text")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"n": [1], "body": ["a"]}, r"there is no column 'text'; TEXT names one of \['n', 'body'\]"),
        ({"text": [1]}, "the column 'text' holds int64, and must hold strings"),
        ({"text": [["a"]]}, "the column 'text' holds list<element: string>, and must hold strings"),
        ({"text": [b"a"]}, "the column 'text' holds binary, and must hold strings"),
        ({"text": [{"a": "b"}]}, "the column 'text' holds struct<a: string>, and must hold strings"),
    ],
)
def test_text_must_be_a_column_of_strings(tmp_path, table, message):
    storage, entry = write(tmp_path, "a.parquet", pa.table(table))
    with pytest.raises(BulkError, match=message):
        read_schema(storage, [entry], "text")


def encrypted(path: Path) -> None:
    class Plain(pe.KmsClient):  # type: ignore[misc] # pyarrow has no types
        """Wraps keys in nothing."""

        def wrap_key(self, key_bytes: bytes, _: str) -> str:
            return key_bytes.hex()

        def unwrap_key(self, wrapped_key: str, _: str) -> bytes:
            return bytes.fromhex(wrapped_key)

    factory = pe.CryptoFactory(lambda _: Plain())
    encryption = pe.EncryptionConfiguration(footer_key="footer", column_keys={"text": ["text"]})
    properties = factory.file_encryption_properties(pe.KmsConnectionConfig(), encryption)
    table = pa.table({"text": ["a"]})
    with pq.ParquetWriter(path, table.schema, encryption_properties=properties) as writer:
        writer.write_table(table)


def test_files_that_are_not_readable_parquet_are_one_line(tmp_path):
    write(tmp_path, "good.parquet", pa.table({"text": ["a" * 99] * 999}))
    good = (tmp_path / "good.parquet").read_bytes()
    bad = {
        "empty": b"",
        "short": b"PAR1",
        "text": b'{"text": "a"}\n' * 9,
        "truncated": good[:-20],
        "footer": good[:-100] + bytes(60) + good[-40:],
        "length": good[:-8] + b"\xff\xff\xff\x7fPAR1",
    }
    for name, content in bad.items():
        (tmp_path / f"{name}.parquet").write_bytes(content)
    encrypted(tmp_path / "encrypted.parquet")
    for name in (*bad, "encrypted"):
        storage, entry = Folder(tmp_path), Folder(tmp_path).entry(f"{name}.parquet")
        with pytest.raises(BulkError, match=f"{name}.parquet: it cannot be read as Parquet: .") as raised:
            read_schema(storage, [entry], "text")
        assert "\n" not in raised.value.message


@given(place=st.floats(0, 1), value=st.integers(0, 255))
def test_damaged_pages_are_one_line_or_whole_rows(place, value):
    """A checksum finds damage where there is one; nothing crashes where there is none."""
    texts = [f"text {i}" for i in range(50)]
    for checksums in (True, False):
        with tempfile.TemporaryDirectory() as folder:
            storage, entry = write(Path(folder), "a.parquet", pa.table({"text": texts}), write_page_checksum=checksums)
            content = bytearray((Path(folder) / "a.parquet").read_bytes())
            pages = pq.read_metadata(Path(folder) / "a.parquet").row_group(0).column(0).total_compressed_size
            content[4 + int(place * (pages - 1))] = value
            storage, entry = put(Path(folder), "a.parquet", bytes(content))
            with suppress(BulkError):
                rows, rejects = rows_of(storage, entry)
                assert len(rows) + len(rejects) == 50


def test_rows_with_invalid_utf8_are_rejected_and_the_others_read(tmp_path):
    texts = [b"text %d" % i for i in range(5000)]
    for bad in (0, 2047, 2048, 2049, 4999):
        texts[bad] = b"\xff\xfe"
    table = pa.table({"text": pa.array(texts, pa.binary()).view(pa.string()), "n": range(5000)})
    storage, entry = write(tmp_path, "a.parquet", table)
    rows, rejects = rows_of(storage, entry, [(0, 2048), (2048, 5000)])
    assert [each.position for each in rejects] == [0, 2047, 2048, 2049, 4999]
    assert {each.code for each in rejects} == {"invalid_utf8"}
    assert "\n" not in rejects[0].message
    assert [position for position, _ in rows] == [row["n"] for _, row in rows]
    assert len(rows) == 4995


def test_batches_of_large_rows_are_small(tmp_path):
    texts = ["a" * (1 << 20)] * 12
    table = pa.table({"text": texts, "n": range(12)})
    for dictionary in (True, False):
        storage, entry = write(tmp_path, "a.parquet", table, use_dictionary=dictionary)
        schema = read_schema(storage, [entry], "text")
        batches = [rows.batch for rows in read_range(storage, entry, 0, 12, schema)]
        assert all(batch.nbytes < 2 * MAX_BYTES for batch in batches)
        assert sum(batch.num_rows for batch in batches) == 12
        assert len(split(storage, entry, "text")) == (2 if not dictionary else 1)


def test_ranges_of_wide_rows_are_short(tmp_path, monkeypatch):
    monkeypatch.setattr("handler.bulk.formats_parquet.SHARD_TOTAL_BYTES", 1 << 20)
    table = pa.table({"text": ["a"] * 300, "other": [random.randbytes(1 << 14) for _ in range(300)]})
    storage, entry = write(tmp_path, "a.parquet", table, use_dictionary=False)
    lengths = [end - start for start, end in split(storage, entry, "text")]
    assert lengths == [64, 64, 64, 64, 44]
