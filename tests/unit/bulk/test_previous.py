"""An earlier output: which vectors are found, which are not, and what a job says of an output that it cannot use."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from handler.bulk import desk, previous
from handler.bulk.plan import Options
from handler.bulk.previous import open_previous
from handler.errors import BulkError
from handler.storage import s3_client
from tests import s3 as local_s3
from tests.unit.bulk.data import texts, work, write_jsonl, written
from tests.unit.bulk.outputs import OPTIONS, sha256, vectors_of, write_output

pytestmark = pytest.mark.emulated


def assert_found(uri: str, texts: Sequence[str], options: Options = OPTIONS) -> None:
    found = open_previous(uri, options).lookup([*map(sha256, texts), sha256("not there")])
    assert set(found) == set(map(sha256, texts))
    for text, vector in zip(texts, vectors_of(texts), strict=True):
        np.testing.assert_array_equal(found[sha256(text)], vector)
        assert found[sha256(text)].dtype == np.float32


@pytest.mark.parametrize("layout", ["columns", "vectors"])
def test_every_text_of_every_part_is_found(tmp_path, layout):
    parts = [[f"text {row}" for row in range(start, start + 10)] for start in range(0, 50, 10)]
    options = replace(OPTIONS, layout=layout, text="body", id="")  # names of columns do not change a vector
    uri = write_output(tmp_path / "out", parts, replace(OPTIONS, layout=layout), group=7)
    assert_found(uri, [text for part in parts for text in reversed(part)], options)


def test_one_row_is_found_and_an_empty_output_has_none(tmp_path):
    assert_found(write_output(tmp_path / "one", [["a"]]), ["a"])
    assert_found(write_output(tmp_path / "none", []), [])


def test_a_text_that_occurs_twice_has_one_vector(tmp_path):
    assert_found(write_output(tmp_path / "out", [["a", "b", "a"], ["a"]]), ["a", "b"])


def test_equal_prefixes_are_told_apart_by_the_whole_digest(tmp_path, monkeypatch):
    monkeypatch.setattr(previous, "_prefixes", lambda digests: np.zeros(len(digests) // 32, np.uint64))
    assert_found(write_output(tmp_path / "out", [["a", "b"], ["c"]]), ["a", "b", "c"])


def test_rows_that_are_scattered_over_many_row_groups_are_read_only_where_most_of_them_are(tmp_path, monkeypatch):
    monkeypatch.setattr(previous, "MAX_GROUPS", 2)
    uri = write_output(tmp_path / "out", [[f"text {row}" for row in range(12)]])
    wanted = [f"text {row}" for row in (0, 3, 6, 7, 9, 10, 11)]
    assert set(open_previous(uri, OPTIONS).lookup(list(map(sha256, wanted)))) == {
        sha256(f"text {row}") for row in (6, 7, 9, 10, 11)
    }


def test_an_output_in_s3_is_read(tmp_path, monkeypatch):
    folder = tmp_path / "out"
    write_output(folder, [["a", "b"], ["c"]])
    with local_s3.serve() as server:
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        s3_client.make_client.cache_clear()
        for path in filter(Path.is_file, folder.rglob("*")):
            server.client.upload_file(str(path), local_s3.BUCKET, f"out/{path.relative_to(folder).as_posix()}")
        assert_found(f"s3://{local_s3.BUCKET}/out", ["a", "b", "c"])
    s3_client.make_client.cache_clear()


@pytest.mark.parametrize("layout", ["columns", "vectors"])
def test_an_output_is_bit_for_bit_what_it_is_without_an_earlier_one(tmp_path, layout):
    rows = texts(60)
    before = work(tmp_path / "before", write_jsonl(tmp_path / "before.jsonl", rows[:50]), 20)
    desk.run(before, "")
    changed = write_jsonl(tmp_path / "changed.jsonl", [*reversed(rows[20:]), {"id": "new", "text": ""}])
    without, reusing = (work(tmp_path / name, changed, 20, layout=layout) for name in ("without", "reusing"))
    known = open_previous(before.target.uri, reusing.plan.options)
    first, second = desk.run(without, ""), desk.run(replace(reusing, previous=known), "")
    assert (first.reused, second.reused) == (0, 30)
    assert second.tokens < first.tokens
    outputs = [written(tmp_path / name / "out") for name in ("without", "reusing")]
    for output in outputs:
        del output["_manifest.json"]  # has the numbers above
    assert outputs[0] == outputs[1]


@pytest.mark.parametrize(
    ("option", "value"), [("digest", "e" * 64), ("dimensions", 2), ("input_type", "query"), ("long_input", "truncate")]
)
def test_vectors_of_other_options_are_not_used(tmp_path, option, value):
    uri = write_output(tmp_path / "out", [["a"]])
    with pytest.raises(BulkError, match=rf"out: PREVIOUS has vectors of {option} '.*', and .* '{value}'; omit it$"):
        open_previous(uri, replace(OPTIONS, **{option: value}))


def test_an_output_that_is_not_finished_is_not_used(tmp_path):
    with pytest.raises(BulkError, match=r"PREVIOUS names no finished output: there is no _manifest\.json$"):
        open_previous(str(tmp_path), OPTIONS)


def test_a_damaged_output_is_named(tmp_path):
    uri = write_output(tmp_path / "out", [["a", "b"]])
    opened = open_previous(uri, OPTIONS)
    (tmp_path / "out/part-00000.parquet").write_bytes(b"PAR1 and so on, PAR1")
    with pytest.raises(BulkError, match=r"part-00000\.parquet: it is damaged, .*; omit PREVIOUS$"):
        opened.lookup([sha256("a")])
    os.truncate(tmp_path / "out/_texts/part-00000.sha256", 32)
    with pytest.raises(BulkError, match=r"part-00000\.sha256: it does not have 32 bytes for each row; omit PREVIOUS$"):
        open_previous(uri, OPTIONS)
    (tmp_path / "out/_texts/part-00000.sha256").unlink()
    with pytest.raises(BulkError, match=r"part-00000\.sha256: the file does not exist$"):
        open_previous(uri, OPTIONS)
