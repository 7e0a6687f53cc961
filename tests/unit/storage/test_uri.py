"""What IN may be: a folder, or one file of it (for S3, see test_s3.py)."""

import pytest

from handler.errors import BulkError
from handler.storage.folder import Folder
from handler.storage.uri import check_apart, open_input, open_storage


def test_input_is_a_folder_without_hidden_files_or_one_file(tmp_path, monkeypatch):
    folder = Folder(tmp_path)
    for name in ("a.jsonl", "b/c.jsonl", "_job/a.jsonl", "b/.cache/a.jsonl", "b/_SUCCESS"):
        folder.write(name, b"{}")
    storage, entries = open_input(f"{tmp_path}/")
    assert storage.uri == str(tmp_path)
    assert entries == [folder.entry("a.jsonl"), folder.entry("b/c.jsonl")]
    storage, entries = open_input(f"{tmp_path}/b/_SUCCESS")  # named on purpose
    assert (storage.uri, [entry.name for entry in entries]) == (f"{tmp_path}/b", ["_SUCCESS"])
    monkeypatch.chdir(tmp_path)
    assert open_input("a.jsonl")[1] == [folder.entry("a.jsonl")]
    assert open_input(".")[1] == open_input(str(tmp_path))[1]
    assert open_storage("b").uri == f"{tmp_path}/b"


@pytest.mark.parametrize(
    ("source", "output"),
    [("in", "in"), ("in", "in/out"), ("in/", "in/a/out/"), (".", "out"), ("s3://b", "s3://b/out"), ("s3://b/x", "s3://b/x/y")],
)  # fmt: skip
def test_an_output_inside_the_input_is_refused(source, output):
    with pytest.raises(BulkError, match=f"^OUT={output} is inside IN={source}, "):
        check_apart(source, output)


@pytest.mark.parametrize(
    ("source", "output"),
    [("in", "out"), ("in", "in-out"), ("in/a.jsonl", "in/out"), ("in", "in/_out"), (".", ".out/a"), ("s3://b/x", "s3://b/xy")],
)  # fmt: skip
def test_an_output_beside_the_input_or_hidden_from_it_is_not(source, output):
    check_apart(source, output)


def test_input_without_files_is_an_error(tmp_path):
    for uri in (tmp_path, tmp_path / "missing"):
        with pytest.raises(BulkError, match=rf"{uri}: there is no file to read \(names that start with"):
            open_input(str(uri))
