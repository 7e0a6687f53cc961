"""A folder as storage: whole files or none, and one line for what the operating system refuses."""

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from handler.errors import BulkError
from handler.storage.entries import read_if_exists
from handler.storage.folder import Folder, from_os_error


@pytest.fixture
def folder(tmp_path) -> Folder:
    return Folder(tmp_path / "new" / "out")


def test_files_are_written_listed_read_and_deleted(folder):
    folder.write("a b/é.json", b"one")
    folder.write("a b/é.json", b"two")
    with folder.temporary() as path:
        path.write_bytes(b"content")
        assert [entry.name for entry in folder.list("_job/tmp/")] == [f"_job/tmp/{path.name}"]
        folder.publish("part", path)
    assert not list((folder.path / "_job/tmp").iterdir())
    assert [(entry.name, entry.size) for entry in folder.list()] == [("a b/é.json", 3), ("part", 7)]
    assert [entry.name for entry in folder.list("a b/")] == ["a b/é.json"]
    assert folder.list("missing/") == []
    assert folder.read("a b/é.json") == b"two"
    for start, rest in ((0, b"content"), (3, b"tent"), (9, b"")):
        with folder.stream(folder.entry("part"), start) as stream:
            assert stream.read() == rest
    assert folder.exists("part")
    assert not folder.exists("part/of")
    assert not folder.exists("a b")  # a folder is no file
    folder.delete(["part", "missing"])
    assert not folder.exists("part")
    with pytest.raises(BulkError, match=r"new/out/part: the file does not exist"):
        folder.entry("part")


def test_folders_are_listed(folder):
    assert folder.folders("") == []
    for name in ("b/c/one", "a/two", "three"):
        folder.write(name, b"")
    assert folder.folders("") == ["_job", "a", "b"]
    assert folder.folders("b/") == ["c"]
    assert folder.folders("missing/") == []
    with pytest.raises(BulkError, match="there is a file where a folder must be"):
        folder.folders("three/")


def test_a_file_that_does_not_exist_is_read_as_none(folder):
    folder.write("one", b"content")
    assert read_if_exists(folder, "one") == b"content"
    assert read_if_exists(folder, "two") is None
    (folder.path / "one").unlink()
    (folder.path / "one").symlink_to("one")
    with pytest.raises(BulkError):
        read_if_exists(folder, "one")


def test_temporary_file_is_removed_after_an_error(folder):
    with pytest.raises(ZeroDivisionError), folder.temporary():
        _ = 1 / 0
    assert not list((folder.path / "_job/tmp").iterdir())


def test_published_files_have_the_permissions_of_any_new_file(folder, tmp_path):
    folder.write("part", b"")
    (tmp_path / "other").touch()
    assert stat.S_IMODE((folder.path / "part").stat().st_mode) == stat.S_IMODE((tmp_path / "other").stat().st_mode)


def test_changed_input_is_not_read(folder):
    folder.write("part", b"one")
    entry = folder.entry("part")
    folder.write("part", b"two")
    with pytest.raises(BulkError, match="out/part: the file has changed since the job was planned; restore it"):
        folder.stream(entry)


def test_links_to_files_are_files_and_links_to_folders_are_an_error(folder, tmp_path):
    folder.write("file", b"content")
    (tmp_path / "linked").symlink_to(folder.path / "file")
    (tmp_path / "broken").symlink_to(folder.path / "missing")
    os.mkfifo(tmp_path / "pipe")
    assert [entry.name for entry in Folder(tmp_path).list()] == ["linked", "new/out/file"]
    (tmp_path / "circle").symlink_to(tmp_path)
    with pytest.raises(BulkError, match="circle: it is a link to a folder, which could be a circle; move the folder"):
        Folder(tmp_path).list()


def test_name_that_is_not_utf8_is_one_line(tmp_path):
    Path(os.fsdecode(bytes(tmp_path) + b"/\xff.csv")).touch()
    with pytest.raises(BulkError, match=r"'\\udcff.csv': its name is not UTF-8; rename the file"):
        Folder(tmp_path).list()


def test_folder_that_is_a_file_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(BulkError, match=r"file/_job/tmp.*: there is a file where a folder must be"):
        Folder(tmp_path / "file").write("part", b"")


def test_full_disk_is_one_line(tmp_path):
    """A limit on the size of files stands for the disk; /dev/full for the one that is full."""
    script = """
import resource, signal, sys
from pathlib import Path
from handler.storage.folder import Folder
from handler.errors import BulkError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    Folder(Path(sys.argv[1])).write("part", bytes(2000))
except BulkError as error:
    print(error)
"""
    # without bytecode and coverage, whose files the limit would cut
    command = [sys.executable, "-B", "-c", script, str(tmp_path)]
    out = subprocess.run(command, env={}, check=True, capture_output=True, text=True)
    assert out.stdout.endswith("File too large\n")
    assert not [entry for entry in Folder(tmp_path).list() if entry.name != "_job"]
    full = from_os_error("out", OSError(errno.ENOSPC, "No space left on device"))
    assert full.message == "out: the disk is full; free space, and run the job again: it goes on where it was"


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.EDQUOT, "the disk is full"),
        (errno.EACCES, "permission denied; check who may read and write there"),
        (errno.EROFS, "permission denied"),
        (errno.ENOENT, "the file does not exist"),
        (errno.EIO, "Input/output error"),
    ],
)
def test_errors_of_the_operating_system_are_one_line(number, message):
    assert from_os_error("out", OSError(number, os.strerror(number))).message.startswith(f"out: {message}")
    assert from_os_error("out", OSError("an error\nof Arrow")).message == "out: an error"


def test_a_file_is_created_once_and_written_from_blocks(folder):
    assert folder.create("created", b"first")
    assert not folder.create("created", b"second")
    assert folder.read("created") == b"first"
    folder.write_stream("streamed", (b"ab" for _ in range(3)))
    assert folder.read("streamed") == b"ababab"
    assert [entry.name for entry in folder.list()] == ["created", "streamed"]
