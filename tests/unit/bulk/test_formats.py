"""What all formats have in common: how a file's name tells its format."""

import pytest

from handler.bulk.formats import read_schema
from handler.errors import BulkError
from handler.storage.folder import Folder


@pytest.mark.parametrize("name", ["a.JSONL", "a.json", "a.ndjson", "a.csv", "a.tsv", "b/a.b.csv"])
def test_format_is_told_by_the_name(tmp_path, name):
    folder = Folder(tmp_path)
    folder.write(name, b"text\na" if "sv" in name else b'{"text": "a"}')
    assert read_schema(folder, folder.list(), "text").names == ["text"]


@pytest.mark.parametrize("name", ["README.md", "a.orc", "a", "a.jsonl.bz2", "a.gz", "jsonl"])
def test_unknown_format_is_an_error(tmp_path, name):
    folder = Folder(tmp_path)
    folder.write(name, b'{"text": "a"}')
    with pytest.raises(BulkError, match=f"/{name}: its format is unknown; expected .parquet, .jsonl, .ndjson, .json, "):
        read_schema(folder, folder.list(), "text")


def test_files_of_several_formats_are_an_error(tmp_path):
    folder = Folder(tmp_path)
    folder.write("a.jsonl", b'{"text": "a"}')
    folder.write("b.csv", b"text\na")
    with pytest.raises(BulkError, match=r"b.csv: its format is not that of a.jsonl; embed one format at a time"):
        read_schema(folder, folder.list(), "text")
