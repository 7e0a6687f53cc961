"""Bulk jobs on this machine: throughput beside the embedder's own, and memory with large inputs.

`python -m benchmarks.bulk_desk` embeds the same texts by the embedder alone, in batches of 2,048, and by a job that
reads them from JSON Lines and writes Parquet, in turns. `--memory GB` runs jobs over files of that size, in which the
embedder embeds only some texts of each chunk.
"""

import os

os.environ["MIMALLOC_PURGE_DELAY"] = "-1"  # as handler/bulk/__main__.py does, before pyarrow is loaded

import argparse
import json
import multiprocessing
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import islice
from multiprocessing.context import SpawnProcess
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.rounds import interleave, medians, ratio
from benchmarks.texts import Texts
from handler.artifacts.manifest import OutputDtype
from handler.artifacts.resolver import load
from handler.bulk import desk
from handler.bulk.plan import Options, make_plan
from handler.bulk.shard import Work
from handler.embedding.deadline import NO_DEADLINE, Deadline
from handler.embedding.embedder import Embedder, Embeddings
from handler.embedding.tokenization import TokenIds
from handler.settings import Settings
from handler.storage.uri import open_input, open_storage

BATCH = 2048
FEW = 32  # texts of a chunk that a job whose memory is measured embeds
FILLER_BYTES = 1900  # of another column, so that 2 GB are a million rows
MEMORY_SECONDS = 2  # between two looks at it


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--rows", type=int, default=81_920, help="so many that the last part, which nothing overlaps, is a small share"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sts", type=Path, metavar="FILE", help="the dev split of STS-B")
    parser.add_argument("--memory", type=float, metavar="GB", help="measure memory, with files of so many GB")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if arguments.memory:
            memory(Path(folder), int(arguments.memory * 1e9))
        else:
            texts = Texts(arguments.sts).distinct()
            throughput(Path(folder), list(islice(texts, arguments.rows)), arguments.rounds)


def throughput(folder: Path, texts: list[str], rounds: int) -> None:
    """Compare rows per second, by the clock and by the time of all cores."""
    with (folder / "in.jsonl").open("w") as file:
        file.writelines(json.dumps({"id": str(number), "text": text}) + "\n" for number, text in enumerate(texts))
    work = open_work(folder / "in.jsonl", folder / "out", Embedder)
    cpu: dict[str, list[float]] = {"embedder": [], "job": []}

    def timed(name: str, run: Callable[[], object]) -> float:
        shutil.rmtree(folder / "out", ignore_errors=True)
        started, used = time.perf_counter(), time.process_time()
        run()
        cpu[name].append(len(texts) / (time.process_time() - used))
        return len(texts) / (time.perf_counter() - started)

    def embed() -> None:
        for start in range(0, len(texts), BATCH):
            work.embedder.embed(texts[start : start + BATCH])

    def job() -> None:
        desk.run(work, "")

    subjects = {"embedder": lambda _: timed("embedder", embed), "job": lambda _: timed("job", job)}
    measured = interleave("throughput", subjects, rounds, 900)
    for name, rate in medians(measured).items():
        print(f"{name:10} {rate:8,.0f} rows/s, {medians(cpu)[name]:8,.0f} rows per second of a core")
    by_clock, by_core = (ratio(rates["job"], rates["embedder"]) for rates in (measured, cpu))
    print(f"ratio      {by_clock:.3f} by the clock, {by_core:.3f} by the time of all cores")


def open_work(source: Path, output: Path, kind: type[Embedder]) -> Work:
    """Return the work of a job with the bundled model and the default options."""
    settings = Settings.from_env(os.environ)
    embedder = kind(load(settings.models[0], settings), settings)
    storage, entries = open_input(str(source))
    options = Options(
        model=embedder.manifest.id,
        digest=embedder.digest,
        dimensions=embedder.manifest.dimensions,
        long_input="error",
    )
    return Work(storage, open_storage(str(output)), make_plan(storage, entries, options), embedder)


def memory(folder: Path, size: int) -> None:
    """Print the peak of a job's resident memory for files of `size` bytes, each written and read by its own process."""
    processes = multiprocessing.get_context("spawn")
    for name, write in (("in.jsonl", write_jsonl), ("in.parquet", write_parquet)):
        writer = processes.Process(target=write, args=(folder / name, size))
        writer.start()
        writer.join()
        job = processes.Process(target=run_job, args=(folder / name, folder / "out"))
        job.start()
        print(f"  peak of its memory: {', '.join(f'{peak:.0f}' for peak in peaks(job, folder / 'out'))} MB", flush=True)
        assert job.exitcode == 0
        (folder / name).unlink()
        shutil.rmtree(folder / "out")


def peaks(job: SpawnProcess, output: Path) -> list[float]:
    """Return the peak of a job's resident memory in MB, as it was again and again until the job ended."""
    found: list[float] = []
    while job.is_alive():
        status = Path(f"/proc/{job.pid}/status").read_text()
        if "VmHWM:" in status and (output / "_job/shards").exists():
            found.append(int(status.partition("VmHWM:")[2].split()[0]) / 1000)
        job.join(MEMORY_SECONDS)
    return found


def write_jsonl(path: Path, size: int) -> None:
    """Write JSON Lines of about `size` bytes."""
    rows, texts = 0, Texts(None).distinct()
    with path.open("w") as file:
        while file.tell() < size:
            row = {"id": str(rows), "text": next(texts), "other": random.randbytes(FILLER_BYTES // 2).hex()}
            file.write(json.dumps(row) + "\n")
            rows += 1
    print(f"JSON Lines: {path.stat().st_size / 1e9:.1f} GB, {rows:,} rows", flush=True)


def write_parquet(path: Path, size: int) -> None:
    """Write a Parquet file of about `size` bytes and one row group."""
    rows = size // FILLER_BYTES
    ids = [str(number) for number in range(rows)]
    fillers = pa.array((random.randbytes(FILLER_BYTES) for _ in range(rows)), pa.binary())
    table = pa.table({"id": ids, "text": list(islice(Texts(None).distinct(), rows)), "other": fillers})
    pq.write_table(table, path, row_group_size=rows)
    print(f"Parquet: {path.stat().st_size / 1e9:.1f} GB, {rows:,} rows in one row group", flush=True)


class FewTexts(Embedder):
    """The bundled model, which embeds some texts of a chunk and repeats their vectors: large files take minutes."""

    def embed(  # noqa: PLR0913 - as the model's
        self,
        inputs: Sequence[str | TokenIds],
        dimensions: int | None = None,
        prompt_name: str | None = None,
        deadline: Deadline = NO_DEADLINE,
        output_dtype: OutputDtype = "float",
        *,
        cache: bool = False,
    ) -> Embeddings:
        """Return as many vectors as there are inputs."""
        few = super().embed(inputs[:FEW], dimensions, prompt_name, deadline, output_dtype, cache=cache)
        return few._replace(vectors=np.resize(few.vectors, (len(inputs), few.vectors.shape[1])))


def run_job(source: Path, output: Path) -> None:
    """Run a job."""
    desk.run(open_work(source, output, FewTexts), "")


if __name__ == "__main__":
    main()
