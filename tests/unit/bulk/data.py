"""Small inputs, and jobs over them with the tiny model."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from handler.bulk.formats import split
from handler.bulk.plan import Options, Shard, make_plan
from handler.bulk.rows import SHARD_ROWS
from handler.bulk.shard import Work
from handler.settings import Settings
from handler.storage.uri import open_input, open_storage
from tests import tiny

OPTIONS = Options("tiny", "d" * 64, tiny.HIDDEN, long_input="error")


def write_jsonl(path: Path, rows: Sequence[Any]) -> Path:
    """Write rows as JSON Lines; what is a string already, as it is."""
    path.parent.mkdir(exist_ok=True)
    lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def texts(count: int) -> list[dict[str, str]]:
    """Return rows with distinct short texts."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    return [{"id": f"r{n}", "text": " ".join(letters[int(digit)] for digit in str(n))} for n in range(count)]


def work(folder: Path, source: Path, shard_rows: int = SHARD_ROWS, **options: Any) -> Work:
    """Return the work of a job whose output is the folder `out`, with shards of about so many rows."""
    storage, entries = open_input(str(source))
    plan = make_plan(storage, entries, replace(OPTIONS, **options))
    ranges = [(entry.name, *each) for entry in entries for each in split(storage, entry, "text", shard_rows)]
    plan = replace(plan, shards=tuple(Shard(number, *each) for number, each in enumerate(ranges)))
    settings = Settings(workers=2, long_input=plan.options.long_input)
    return Work(storage, open_storage(str(folder / "out")), plan, tiny.embedder(settings))


def written(folder: Path) -> dict[str, bytes]:
    """Return an output's files by name, but for those of the job."""
    files = [path for path in folder.rglob("*") if path.is_file() and "_job" not in path.parts]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
