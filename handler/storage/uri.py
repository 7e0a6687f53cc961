"""Opens what a path or URI names: a folder, or a prefix of a bucket."""

import re
from pathlib import Path

from handler.errors import BulkError
from handler.storage.entries import Entry, Storage
from handler.storage.folder import Folder
from handler.storage.s3 import S3Prefix

__all__ = ["Entry", "Storage", "check_apart", "open_input", "open_storage"]

HIDDEN = re.compile(r"(^|/)[._]")  # in the names of files that are not input


def open_storage(uri: str, *, online: bool = False) -> Storage:
    """Return the storage at a path or at s3://bucket/prefix; it need not exist.

    `online` is for requests, which cannot wait as long as jobs.
    """
    if uri.startswith("s3://"):
        bucket, _, prefix = uri.removeprefix("s3://").partition("/")
        if not bucket:
            raise BulkError(f"{uri}: there is no bucket; expected s3://bucket/prefix")
        return S3Prefix(bucket, prefix.strip("/"), online=online)
    if re.match(r"\w+://", uri):
        raise BulkError(f"{uri}: expected a path, or s3://bucket/prefix")
    return Folder(Path(uri))


def check_apart(source: str, output: str) -> None:
    """Check that an output is not among the files of an input.

    Raises:
        BulkError: it is: a resumed job would find new files in its input.
    """
    read, written = f"{open_storage(source).uri}/", f"{open_storage(output).uri}/"
    if written.startswith(read) and not HIDDEN.search(written.removeprefix(read)):
        raise BulkError(f"OUT={output} is inside IN={source}, which would then contain the output; choose another OUT")


def open_input(uri: str) -> tuple[Storage, list[Entry]]:
    """Return a storage and its files that are input: one file, or those without a part that starts with '.' or '_'.

    Raises:
        BulkError: there are none.
    """
    whole = open_storage(uri)
    parent, _, name = whole.uri.rpartition("/")
    if name and not uri.endswith("/") and parent != "s3:/":
        above = open_storage(parent or "/")
        if above.exists(name):
            return above, [above.entry(name)]
    entries = [entry for entry in whole.list() if not HIDDEN.search(entry.name)]
    if not entries:
        raise BulkError(f"{uri}: there is no file to read (names that start with '.' or '_' do not count)")
    return whole, entries
