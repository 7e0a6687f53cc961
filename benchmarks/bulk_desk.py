"""Bulk jobs on this machine: throughput beside the embedder's own, and memory whatever the input's size.

`python -m benchmarks.bulk_desk` embeds the same texts by the embedder alone, in batches of 2,048, and by a job that
reads them from JSON Lines and writes Parquet, in turns. `--memory GB` runs jobs over files of that size, and stops each
after some shards.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import cycle, islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.rounds import interleave, medians, ratio
from benchmarks.texts import Texts
from handler.artifacts.resolver import load
from handler.bulk import desk
from handler.bulk.plan import Options, make_plan
from handler.bulk.shard import Work
from handler.bulk.storage import open_input, open_storage
from handler.embedding.embedder import Embedder
from handler.settings import Settings

BATCH = 2048
FILLER_BYTES = 1900  # of another column, so that 2 GB are a million rows
MEMORY_SHARDS = 4


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_480)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sts", type=Path, metavar="FILE", help="the dev split of STS-B")
    parser.add_argument("--memory", type=float, metavar="GB", help="measure memory, with files of so many GB")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        texts = distinct(Texts(arguments.sts))
        if arguments.memory:
            memory(Path(folder), texts, int(arguments.memory * 1e9))
        else:
            throughput(Path(folder), list(islice(texts, arguments.rows)), arguments.rounds)


def distinct(texts: Texts) -> Iterator[str]:
    """Yield texts without end and without duplicates, which the embedder would compute once."""
    for number, text in enumerate(cycle(texts.sentences)):
        repeated = number // len(texts.sentences)
        yield f"{text} {repeated}" if repeated else text


def throughput(folder: Path, texts: list[str], rounds: int) -> None:
    """Compare rows per second, by the clock and by the time of all cores."""
    settings = Settings.from_env(os.environ)
    embedder = Embedder(load(settings.models[0], settings), settings)
    with (folder / "in.jsonl").open("w") as file:
        file.writelines(json.dumps({"id": str(number), "text": text}) + "\n" for number, text in enumerate(texts))
    source, entries = open_input(str(folder / "in.jsonl"))
    options = Options(
        model=embedder.manifest.id,
        digest=embedder.digest,
        dimensions=embedder.manifest.dimensions,
        text="text",
        id="id",
        input_type="",
        long_input="error",
        layout="columns",
    )
    plan = make_plan(source, entries, options)
    cpu: dict[str, list[float]] = {"embedder": [], "job": []}

    def timed(name: str, run: Callable[[], object]) -> float:
        started, used = time.perf_counter(), time.process_time()
        run()
        cpu[name].append(len(texts) / (time.process_time() - used))
        return len(texts) / (time.perf_counter() - started)

    def embed() -> None:
        for start in range(0, len(texts), BATCH):
            embedder.embed(texts[start : start + BATCH])

    def job() -> None:
        shutil.rmtree(folder / "out", ignore_errors=True)
        desk.run(Work(source, open_storage(str(folder / "out")), plan, embedder), "")

    subjects = {"embedder": lambda _: timed("embedder", embed), "job": lambda _: timed("job", job)}
    measured = interleave("throughput", subjects, rounds, 600)
    for name, rate in medians(measured).items():
        print(f"{name:10} {rate:8,.0f} rows/s, {medians(cpu)[name]:8,.0f} rows per second of a core")
    by_clock, by_core = (ratio(rates["job"], rates["embedder"]) for rates in (measured, cpu))
    print(f"ratio      {by_clock:.3f} by the clock, {by_core:.3f} by the time of all cores")


def memory(folder: Path, texts: Iterator[str], size: int) -> None:
    """Print the peak of a job's resident memory for large files."""
    for name, write in (("in.jsonl", write_jsonl), ("in.parquet", write_parquet)):
        path = folder / name
        rows = write(path, texts, size)
        print(f"{name}: {path.stat().st_size / 1e9:.2f} GB, {rows:,} rows", flush=True)
        peaks = run_and_watch(path, folder / "out")
        print(f"  peak after each shard: {', '.join(f'{peak:.0f}' for peak in peaks)} MB", flush=True)
        path.unlink()
        shutil.rmtree(folder / "out")


def write_jsonl(path: Path, texts: Iterator[str], size: int) -> int:
    """Write JSON Lines of about `size` bytes; return the number of rows."""
    rows = 0
    with path.open("w") as file:
        while file.tell() < size:
            row = {"id": str(rows), "text": next(texts), "other": random.randbytes(FILLER_BYTES // 2).hex()}
            file.write(json.dumps(row) + "\n")
            rows += 1
    return rows


def write_parquet(path: Path, texts: Iterator[str], size: int) -> int:
    """Write a Parquet file of about `size` bytes in row groups of a million rows; return the number of rows."""
    schema = pa.schema([("id", pa.string()), ("text", pa.string()), ("other", pa.binary())])
    group, rows = 1_000_000, 0
    with pq.ParquetWriter(path, schema) as writer:
        while rows * FILLER_BYTES < size:
            ids = [str(rows + number) for number in range(group)]
            fillers = [random.randbytes(FILLER_BYTES) for _ in range(group)]
            table = pa.table({"id": ids, "text": list(islice(texts, group)), "other": fillers}, schema)
            writer.write_table(table, row_group_size=group)
            rows += group
    return rows


def run_and_watch(source: Path, output: Path) -> list[float]:
    """Run a job until it has done some shards; return the peak of its resident memory after each, in MB."""
    command = [sys.executable, "-m", "handler.bulk", "run", str(source), str(output), "--yes"]
    peaks: list[float] = []
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        while len(peaks) < MEMORY_SHARDS and process.poll() is None:
            time.sleep(0.5)
            if len(list((output / "_job/shards").glob("*.json"))) > len(peaks):
                status = Path(f"/proc/{process.pid}/status").read_text()
                peaks.append(int(status.partition("VmHWM:")[2].split()[0]) / 1000)
        process.terminate()
    return peaks


if __name__ == "__main__":
    main()
