"""Bulk jobs with the bundled model: the bits of the service, and the command line."""

import base64
import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import Mock

import httpx2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from handler.api.app import create_app
from handler.bulk.__main__ import INTERRUPTED, main
from handler.bulk.plan import make_plan
from handler.models.catalog import Catalog
from handler.settings import Settings
from tests.conftest import serve
from tests.emulator import ROOT, clean_environment
from tests.process import wait_until

COMMAND = [sys.executable, "-m", "handler.bulk"]


@pytest.fixture(scope="module")
def served(embedder, golden) -> Iterator[np.ndarray]:
    """Return the vectors of the golden texts by POST /v1/embeddings, float32 (texts, dimensions)."""
    settings = Settings(auth_mode="none")
    with serve(create_app(settings, Catalog.of([embedder(2)], settings))) as url:
        body = {"model": "all-MiniLM-L6-v2", "input": golden.texts, "encoding_format": "base64"}
        rows = httpx2.post(f"{url}/v1/embeddings", json=body, timeout=60).json()["data"]
        yield np.array([np.frombuffer(base64.b64decode(row["embedding"]), "<f4") for row in rows])


def write_parquet(path: Path, texts: list[str]) -> None:
    pq.write_table(pa.table({"id": range(len(texts)), "text": texts}), path, row_group_size=7)


def write_jsonl(path: Path, texts: list[str]) -> None:
    rows = [json.dumps({"id": number, "text": text}) for number, text in enumerate(texts)]
    path.write_text("\n".join(rows))


def write_csv(path: Path, texts: list[str]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([("id", "text"), *enumerate(texts)])


WRITERS: dict[str, Callable[[Path, list[str]], None]] = {
    "parquet": write_parquet,
    "jsonl": write_jsonl,
    "csv": write_csv,
}


@pytest.mark.parametrize("layout", ["columns", "vectors"])
@pytest.mark.parametrize("suffix", WRITERS)
def test_golden_texts_have_the_bits_of_the_service(tmp_path, golden, served, suffix, layout):
    source, output = tmp_path / f"in.{suffix}", tmp_path / "out"
    WRITERS[suffix](source, golden.texts)
    assert main(["run", str(source), str(output), "--yes", "--layout", layout]) == 0
    (part,) = output.glob("part-*.parquet")
    table = pq.read_table(part)
    vectors = np.array(table.column("embedding" if layout == "columns" else "values").to_pylist(), np.float32)
    np.testing.assert_array_equal(vectors, served)
    assert [str(each) for each in table.column("id").to_pylist()] == [str(n) for n in range(len(golden.texts))]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    write_jsonl(tmp_path / "in.jsonl", ["the food was good", "", "the waiter"])
    return tmp_path / "in.jsonl"


def test_dry_run_prints_the_price_and_writes_nothing(tmp_path, source, capsys):
    assert main(["run", str(source), str(tmp_path / "out"), "--dry-run"]) == 0
    assert "Lambda, GB-seconds" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


def test_the_facts_stand_beside_the_price(tmp_path, source, capsys, monkeypatch):
    planned = Mock(wraps=make_plan)
    monkeypatch.setattr("handler.bulk.jobs.make_plan", planned)
    assert main(["run", str(source), str(tmp_path / "out"), "--yes"]) == 0
    assert planned.call_count == 1  # of CSV and compressed files, each takes as long as reading all of them
    printed = capsys.readouterr().out
    assert printed.startswith("3 rows, 1 of them rejected, ")
    assert "3 rows in, 2 out in 1 parts" in printed
    assert re.search(r"estimated +actual\nrows +3 +3\nrejected +1 +1\n", printed)


@pytest.mark.parametrize(("answer", "runs"), [("y", True), ("YES", True), ("", False), ("no", False)])
def test_a_terminal_is_asked(tmp_path, source, monkeypatch, answer, runs):
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("builtins.input", lambda _: answer)
    assert main(["run", str(source), str(tmp_path / "out")]) == 0
    assert (tmp_path / "out/_manifest.json").exists() == runs


def test_the_end_of_the_input_is_a_no(tmp_path, source, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO())
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    assert main(["run", str(source), str(tmp_path / "out")]) == 0
    assert not (tmp_path / "out").exists()
    assert not capsys.readouterr().err


@pytest.mark.parametrize("output", ["", "out"])
def test_an_output_inside_the_input_is_refused(tmp_path, source, capsys, output):
    assert main(["run", str(source.parent), str(tmp_path / output), "--yes"]) == 1
    assert "is inside IN=" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


def test_ctrl_c_during_the_imports_is_one_line():
    script = (
        "import builtins, os, signal, handler.bulk.__main__ as command\n"
        "real = builtins.__import__\n"
        "def find(name, *rest):\n"
        "    if name == 'pyarrow': os.kill(os.getpid(), signal.SIGINT)\n"
        "    return real(name, *rest)\n"
        "builtins.__import__ = find\n"
        "command.main(['status', 'nowhere'])\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env=clean_environment(), capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stderr) == (INTERRUPTED, "Stopped by Ctrl-C.\n")


def test_without_a_terminal_a_run_needs_yes(tmp_path, source, capsys):
    assert main(["run", str(source), str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err == "bulk: there is no terminal to ask on; YES=1 answers\n"


def test_rejects_are_shown_and_a_job_goes_on_with_a_higher_limit(tmp_path, source, capsys):
    command = ["run", str(source), str(tmp_path / "out"), "--yes"]
    assert main([*command, "--max-rejects", "0"]) == 1
    assert "1 rows were rejected, and MAX_REJECTS=0 allows fewer" in capsys.readouterr().err
    assert main(command) == 0
    assert "1 ROWS WERE REJECTED" in capsys.readouterr().out
    assert main(["status", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out == "finished: 1 of 1 shards, 3 rows, 1 of them rejected, 1 parts\n"


def test_previous_vectors_are_reused(tmp_path, source, capsys):
    assert main(["run", str(source), str(tmp_path / "first"), "--yes"]) == 0
    write_jsonl(tmp_path / "in.jsonl", ["the food was good", "something new"])
    again = ["run", str(source), str(tmp_path / "second"), "--yes", "--previous", str(tmp_path / "first")]
    assert main(again) == 0
    assert "1 vectors reused" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--text", "body"], "there is no column 'body'"),
        (["--id", "key"], "there is no column 'key'; ID names one of: id, text"),
        (["--dimensions", "500"], "500 is not between 1 and 384"),
        (["--input-type", "querry"], "'querry' is unknown; 'all-MiniLM-L6-v2' knows query, search_query, "),
        (["--max-rejects", "few"], "MAX_REJECTS is 'few'"),
        (["--model", "nope"], "model 'nope'"),
        (["--dimensions", "few"], "--dimensions: invalid int value: 'few'"),
        (["--layout", "rows"], "--layout: invalid choice: 'rows'"),
        (["--previous", "nowhere"], "nowhere: PREVIOUS names no finished output"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(tmp_path, source, capsys, arguments, words):
    assert main(["run", str(source), str(tmp_path / "out"), "--yes", *arguments]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


@pytest.mark.parametrize("command", ["status", "resume"])
def test_a_folder_without_a_job_is_one_line(tmp_path, capsys, command):
    assert main([command, str(tmp_path)]) == 1
    assert "there is no job" in capsys.readouterr().err


@pytest.mark.parametrize("end", ["SIGINT", "SIGTERM", "cancel"])
def test_a_run_ends_at_once_says_how_to_go_on_and_does(tmp_path, end):
    source, output = tmp_path / "in.jsonl", tmp_path / "out"
    write_jsonl(source, [f"the food was good {number} times" for number in range(50_000)])
    command = [*COMMAND, "run", str(source), str(output), "--yes"]
    with subprocess.Popen(
        command, cwd=ROOT, env=clean_environment(), text=True, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
    ) as process:
        wait_until((output / "_job/plan.json").exists, 60)
        time.sleep(0.5)  # so that reading, inference and writing have begun
        if end == "cancel":
            subprocess.run([*COMMAND, "cancel", str(output)], cwd=ROOT, env=clean_environment(), check=True)
        else:
            os.kill(process.pid, getattr(signal, end))
        _, errors = process.communicate(timeout=20)
    assert process.returncode == INTERRUPTED
    assert errors.splitlines()[-1] == "stopped; the same command goes on where it was"
    assert "Traceback" not in errors
    assert not list((output / "_job/tmp").iterdir())
    write_jsonl(source, ["something else"])
    assert main(["resume", str(output)]) == 1  # it goes on, and finds another input than it had


def test_resume_finishes_a_job(tmp_path, source):
    output = tmp_path / "out"
    assert main(["run", str(source), str(output), "--yes"]) == 0
    (output / "_manifest.json").unlink()
    assert main(["resume", str(output)]) == 0
    assert json.loads((output / "_manifest.json").read_text())["rows_out"] == 2
