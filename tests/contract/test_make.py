"""The Makefile: what it installs for which target, how it passes on texts and flags, and its errors of one line."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from handler.artifacts.resolver import load
from handler.embedding.embedder import Embedder
from handler.settings import Settings
from tests.emulator import ROOT, clean_environment

TOOLS = ("bash", "make", "sed", "grep", "touch", "awk")
RECORD = '#!/bin/sh\necho "$(basename $0) $@" >> calls\n'
TEXTS = {
    "dollar": "It costs $50",
    "two dollars": "$$ and $HOME",
    "function": "$(shell touch pwned) $(",
    "brace": "${x",
    "quotes": 'it\'s "quoted"',
    "backticks": "`touch pwned`",
    "backslashes": "a\\b \\n \\\\",
    "backslash at the end": "a\\",
    "lines": "first\nsecond \\\nthird\n",
    "option": "--help",
    "dash": "-",
    "comment": "# not a comment",
    "assignment": "A=b := c",
    "other alphabets": "Müller 模型 🎉",
    "empty": "",
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a folder with the Makefile and an environment whose commands only record their arguments."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "uv.lock").touch()
    for folder in (tmp_path / ".venv/bin", tmp_path / "bin"):
        folder.mkdir(parents=True)
    for tool in TOOLS:
        (tmp_path / "bin" / tool).symlink_to(shutil.which(tool) or tool)
    write_command(tmp_path / ".venv/bin/uv", RECORD)
    write_command(tmp_path / ".venv/bin/python", RECORD)
    write_command(tmp_path / "bin/python3", "#!/bin/sh\nexit 0\n")
    return tmp_path


def write_command(path: Path, script: str) -> None:
    path.write_text(script)
    path.chmod(0o755)


def make(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [str(shutil.which("make")), *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )


def make_alone(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run make with no other commands than those of the project."""
    return make(project, *arguments, PATH=str(project / "bin"), BASH_ENV="")


def calls(project: Path) -> list[str]:
    return (project / "calls").read_text().splitlines() if (project / "calls").exists() else []


@pytest.mark.parametrize(
    "target", ["setup", "run", "embed", "api-key NAME=a", "publish BUCKET=abc", "models BUCKET=abc"]
)
def test_serving_and_publishing_install_what_serving_needs(project, target):
    done = make(project, *target.split(), PATH=os.environ["PATH"])
    assert (done.returncode, done.stdout) == (0, "")
    assert [call for call in calls(project) if call.startswith("uv")] == ["uv sync --frozen --inexact"]
    assert "Installing what serving needs into .venv" in done.stderr


@pytest.mark.parametrize(("target", "group"), [("test", "dev"), ("model", "recipe")])
def test_target_installs_its_group_once_in_addition(project, target, group):
    for _ in range(2):
        assert make(project, target, PATH=os.environ["PATH"]).returncode == 0
    installed = ["uv sync --frozen --inexact", f"uv sync --frozen --inexact --group {group}"]
    assert [call for call in calls(project) if call.startswith("uv")] == installed


def test_tests_begin_with_a_line_that_says_what_runs_and_how_long(project):
    write_command(project / ".venv/bin/python", '#!/bin/sh\necho "$@"\n')
    everything, some = (
        make(project, *arguments, PATH=os.environ["PATH"]).stdout
        for arguments in (["test"], ["test", "TESTS=tests/unit"])
    )
    assert everything.startswith(
        "Running the unit, contract, golden and fuzz tests: about three minutes on two cores\n-m pytest "
    )
    assert some.startswith("Running tests/unit\n-m pytest ")


def test_changed_lock_file_is_installed(project):
    make(project, "test", PATH=os.environ["PATH"])
    later = (project / ".venv/ready-dev").stat().st_mtime + 10
    os.utime(project / "uv.lock", (later, later))
    (project / "calls").unlink()
    make(project, "test", PATH=os.environ["PATH"])
    assert calls(project)[:2] == ["uv sync --frozen --inexact", "uv sync --frozen --inexact --group dev"]


OLD_PYTHON = '[ "$1" != -V ] || echo Python 3.9.1\ncase "$2" in *version_info*) exit 1; esac'
PYTHON_WITHOUT_VENV = 'case "$2" in *ensurepip*) echo Traceback >&2; exit 1; esac'


@pytest.mark.parametrize(
    ("python", "message"),
    [
        (None, "python3 is missing: install Python 3.11 or newer"),
        (OLD_PYTHON, "python3 is Python 3.9.1; 3.11 or newer is required"),
        (PYTHON_WITHOUT_VENV, "python3 has no module venv: install it"),
    ],
)
def test_missing_python_is_one_line_with_a_remedy(project, python, message):
    (project / "bin/python3").unlink()
    if python:
        write_command(project / "bin/python3", f"#!/bin/sh\n{python}\n")
    failed = make_alone(project, "run")
    line, noise = failed.stderr.splitlines()
    assert line.startswith(f"make: {message}")
    assert noise.startswith("make: *** [Makefile:")  # make's own, which nothing turns off
    assert (failed.returncode, failed.stdout, calls(project)) == (2, "", [])


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
@pytest.mark.parametrize("variable", ["argument", "environment"])
def test_text_is_passed_on_as_it_is(project, text, variable):
    recorded = '#!/bin/sh\nfor each; do printf "%s\\0" "$each" >> arguments; done\n'
    write_command(project / ".venv/bin/python", recorded)
    if variable == "argument":
        done = make(project, "embed", f"TEXT={text}", PATH=os.environ["PATH"])
    else:
        done = make(project, "embed", PATH=os.environ["PATH"], TEXT=text)
    assert (done.returncode, done.stdout) == (0, "")
    assert (project / "arguments").read_text().split("\0")[:-1] == ["-m", "handler.local", "--", text]
    assert not (project / "pwned").exists()


def test_columns_and_paths_of_bulk_jobs_are_passed_on_as_they_are(project):
    recorded = '#!/bin/sh\nfor each; do printf "%s\\0" "$each" >> arguments; done\n'
    write_command(project / ".venv/bin/python", recorded)
    given = {"IN": "a$b $(shell touch pwned)", "OUT": "$$x", "TEXT": "my $text", "ID": "$id", "PREVIOUS": "p$q"}
    path = os.environ["PATH"]
    done = make(project, "bulk", *(f"{name}={value}" for name, value in given.items()), PATH=path)
    assert (done.returncode, done.stdout) == (0, "")
    make(project, "load", "FROM=$f", "TO=s3vectors://b/i", PATH=path)
    options = ["--text", given["TEXT"], "--id", given["ID"], "--previous", given["PREVIOUS"]]
    expected = ["-m", "handler.bulk", "run", given["IN"], given["OUT"], *options]
    expected += ["-m", "handler.bulk", "load", "$f", "s3vectors://b/i"]
    assert (project / "arguments").read_text().split("\0")[:-1] == expected
    assert not (project / "pwned").exists()


def test_vector_of_a_text_is_printed_as_json(artifacts):
    done = make(ROOT, "embed", "TEXT=It costs $50", **clean_environment())
    assert (done.returncode, done.stderr) == (0, "")
    expected = Embedder(artifacts, Settings()).embed(["It costs $50"]).vectors[0]
    assert np.array_equal(np.array(json.loads(done.stdout), np.float32), expected)


@pytest.fixture(scope="module")
def artifacts():
    return load("all-MiniLM-L6-v2", Settings())


@pytest.mark.parametrize(
    "call",
    [
        "api-key NAME",
        "publish BUCKET",
        "models BUCKET",
        "verify-deployment URL",
        "bench-lambda URL",
        "release-notes VERSION",
    ],
)
def test_missing_variable_is_one_line(project, call):
    target, variable = call.split()
    make(project, "setup", ".venv/ready-dev", PATH=os.environ["PATH"])
    failed = make(project, target, PATH=os.environ["PATH"])
    (line,) = failed.stderr.splitlines()
    assert f"*** {variable} is missing: make {target} {variable}=" in line
    assert (failed.returncode, failed.stdout) == (2, "")


@pytest.mark.parametrize(("value", "passed"), [("1", True), ("0", False), ("", False)])
def test_zero_turns_a_flag_off(project, value, passed):
    make(project, "publish", "BUCKET=abc", f"DRY_RUN={value}", PATH=os.environ["PATH"])
    make(project, "run", f"QUIET={value}", PATH=os.environ["PATH"])
    assert ("--dry-run" in calls(project)[-2], "--quiet" in calls(project)[-1]) == (passed, passed)


def local(*arguments: str, given: bytes = b"", **environment: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "handler.local", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=clean_environment(**environment), input=given, capture_output=True, check=False
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--port", "abc"], "PORT is 'abc': choose a number from 1 to 65535, such as make run PORT=3000"),
        (["--port", "99999"], "PORT is '99999': choose a number"),
        (["--port", "-1"], "PORT is '-1': choose a number"),
        (["--host", "nosuch.invalid"], "cannot listen on nosuch.invalid:3000: "),
        (["--host", "192.0.2.1"], "cannot listen on 192.0.2.1:3000: "),
        (["--", ""], "TEXT cannot be embedded: Invalid 'input': it is an empty string."),
        (["--", b"a\xff"], "TEXT is not UTF-8: invalid start byte at byte 2"),
        (["--", "a " * 60_000], "TEXT cannot be embedded: "),
    ],
)  # fmt: skip
def test_invalid_argument_is_one_line(arguments, message):
    failed = local(*arguments)
    (line,) = failed.stderr.decode().splitlines()
    assert line.startswith(message)
    assert (failed.returncode, failed.stdout) == (1, b"")


def test_each_line_of_standard_input_gets_a_vector(artifacts):
    texts = ["It costs $50", "  'b' \\", "Müller"]
    done = local("--stdin", given="\n".join(texts).encode())
    assert (done.returncode, done.stderr) == (0, b"")
    vectors = [np.array(json.loads(line), np.float32) for line in done.stdout.splitlines()]
    expected = Embedder(artifacts, Settings()).embed(texts).vectors
    assert np.array_equal(np.array(vectors), expected)


@pytest.mark.parametrize(
    ("line", "message"),
    [(b"", b"cannot be embedded: Invalid 'input': it is an empty string."), (b"\xe4", b"is not UTF-8: ")],
)
def test_invalid_line_is_named_after_the_vectors_before_it(line, message):
    failed = local("--stdin", given=b"a\n" + line + b"\nb\n")
    assert (failed.returncode, len(failed.stdout.splitlines())) == (1, 1)
    assert failed.stderr.startswith(b"line 2 " + message)
    assert len(failed.stderr.splitlines()) == 1


def test_reader_that_leaves_ends_the_command_silently():
    script = f"yes | {sys.executable} -m handler.local --stdin | head -1"
    done = subprocess.run(
        ["bash", "-c", script], cwd=ROOT, env=clean_environment(), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr, len(done.stdout.splitlines())) == (0, "", 1)


def test_standard_input_of_a_terminal_is_not_read():
    keyboard, screen = os.openpty()
    command = [sys.executable, "-m", "handler.local", "--stdin"]
    failed = subprocess.run(
        command, cwd=ROOT, env=clean_environment(), stdin=screen, capture_output=True, text=True, check=False
    )
    os.close(keyboard)
    os.close(screen)
    assert (failed.returncode, failed.stdout) == (1, "")
    assert failed.stderr == "no text: make embed TEXT='...', or pipe texts into make embed, one a line\n"
