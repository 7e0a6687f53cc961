"""Batches on this machine: throughput beside bulk jobs' and the embedder's own, and memory.

`python -m benchmarks.batch` embeds the same texts by the embedder alone, by a bulk job from JSON Lines to Parquet, and
by batches of one text and of 2,000 texts a request, in turns. `--memory` runs each of the batches in a process of its
own, and prints how much memory it takes beside that of the loaded model.
"""

import os

os.environ["MIMALLOC_PURGE_DELAY"] = "-1"  # as handler/bulk/__main__.py does, before pyarrow is loaded

import argparse
import json
import multiprocessing
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

from benchmarks.bulk_desk import BATCH, open_work
from benchmarks.rounds import interleave, medians, ratio
from benchmarks.texts import Texts
from handler.batches import files
from handler.batches.folder import BATCH as RECORD
from handler.batches.folder import BatchFolder
from handler.batches.ids import new_id
from handler.batches.records import BatchRecord, FileRecord
from handler.bulk import desk as bulk
from handler.bulk.background import SWITCH_SECONDS
from handler.bulk.batch_desk import Desk
from handler.embedding.embedder import Embedder
from handler.models.catalog import Catalog
from handler.settings import Settings
from handler.storage.folder import Folder
from tests.process import resident_bytes

INPUTS = 2_000  # of a request
OWNER = "0" * 32
MODEL = "all-MiniLM-L6-v2"
DAY = 86_400


@dataclass(frozen=True, slots=True)
class Subject:
    """A kind of batch: how many texts a request has, and its encoding."""

    inputs: int
    encoding_format: str


SUBJECTS = {
    "batch, a text a request": Subject(1, "base64"),
    f"batch, {INPUTS:,} a request": Subject(INPUTS, "base64"),
    "batch, a text, as floats": Subject(1, "float"),
    f"batch, {INPUTS:,}, as floats": Subject(INPUTS, "float"),
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory", action="store_true", help="measure memory instead")
    arguments = parser.parse_args()
    texts = list(islice(Texts(None).distinct(), arguments.texts))
    with tempfile.TemporaryDirectory() as folder:
        if arguments.memory:
            memory(Path(folder), texts)
        else:
            throughput(Path(folder), texts, arguments.rounds)


def throughput(folder: Path, texts: list[str], rounds: int) -> None:
    """Compare texts per second, by the clock and by the time of all cores."""
    with (folder / "in.jsonl").open("w") as file:
        file.writelines(json.dumps({"id": str(number), "text": text}) + "\n" for number, text in enumerate(texts))
    work = open_work(folder / "in.jsonl", folder / "out", Embedder)
    settings = Settings.from_env(os.environ)
    catalog = Catalog.of([work.embedder], settings)
    cpu: dict[str, list[float]] = {}

    def timed(name: str, run: Callable[[], object]) -> float:
        shutil.rmtree(folder / "out", ignore_errors=True)
        started, used = time.perf_counter(), time.process_time()
        run()
        cpu.setdefault(name, []).append(len(texts) / (time.process_time() - used))
        return len(texts) / (time.perf_counter() - started)

    def embed() -> None:
        for start in range(0, len(texts), BATCH):
            work.embedder.embed(texts[start : start + BATCH])

    def batch(name: str, subject: Subject, _: int) -> float:
        data = folder / "data"
        shutil.rmtree(data, ignore_errors=True)
        created = create(data, texts, subject)
        rate = timed(name, Desk(Folder(data), settings, _catalog=catalog).run)
        end = created.end()
        assert end
        assert (end.ending, end.completed * subject.inputs) == ("completed", len(texts)), end
        return rate

    subjects: dict[str, Callable[[int], float]] = {
        "embedder": lambda _: timed("embedder", embed),
        "bulk job": lambda _: timed("bulk job", lambda: bulk.run(work, "")),
    }
    for each, kind in SUBJECTS.items():
        subjects[each] = partial(batch, each, kind)
    sys.setswitchinterval(SWITCH_SECONDS)
    measured = interleave("throughput", subjects, rounds, 3600)
    used = {name: values[-len(measured[name]) :] for name, values in cpu.items()}  # without the warm-up round
    for name, rate in medians(measured).items():
        print(f"{name:28} {rate:8,.0f} texts/s, {medians(used)[name]:8,.0f} texts per second of a core")
    for name in SUBJECTS:
        by_clock, by_core = (ratio(rates[name], rates["bulk job"]) for rates in (measured, used))
        print(f"{name:28} {by_clock:.3f} of the bulk job by the clock, {by_core:.3f} by the time of all cores")


def create(data: Path, texts: list[str], subject: Subject) -> BatchFolder:
    """Create a batch of all texts."""
    storage, now = Folder(data), int(time.time())
    file_id, batch_id = new_id("file-", now), new_id("batch_", now)
    lines = (
        json.dumps(
            {
                "custom_id": str(start),
                "method": "POST",
                "url": "/v1/embeddings",
                "body": {
                    "model": MODEL,
                    "input": texts[start : start + subject.inputs] if subject.inputs > 1 else texts[start],
                    "encoding_format": subject.encoding_format,
                },
            }
        ).encode()
        + b"\n"
        for start in range(0, len(texts), subject.inputs)
    )
    files.add(storage, OWNER, FileRecord(file_id, 0, now, now + DAY, "in.jsonl", "batch"), lines)
    folder = BatchFolder(storage, OWNER, batch_id)
    record = BatchRecord(batch_id, OWNER, now, now + DAY, "/v1/embeddings", "24h", file_id, None, DAY)
    storage.write(folder.path(RECORD), record.to_json())
    return folder


def memory(folder: Path, texts: list[str]) -> None:
    """Print the peak of the memory of batches, each in its own process."""
    processes = multiprocessing.get_context("spawn")
    for name, subject in SUBJECTS.items():
        data = folder / "data"
        create(data, texts, subject)
        process = processes.Process(target=run_and_print, args=(name, data))
        process.start()
        process.join()
        assert process.exitcode == 0
        shutil.rmtree(data)


def run_and_print(name: str, data: Path) -> None:
    """Run the batches of a folder; print the peak of the resident memory, and what it was with the loaded model."""
    settings = Settings.from_env(os.environ)
    catalog = Catalog(settings, print)
    while not catalog._served[0].embedder.result:
        time.sleep(0.1)
    catalog.default.embed(["warm"])
    before = resident_bytes(os.getpid())
    assert Desk(Folder(data), settings, _catalog=catalog).run()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    sizes = ", ".join(f"{path.stat().st_size / 1e6:.0f}" for path in data.rglob("file-*") if not path.suffix)
    print(
        f"{name:28} peak {peak / 1e6:.0f} MB, {(peak - before) / 1e6:.0f} MB beside the loaded model's "
        f"{before / 1e6:.0f} MB; files of {sizes} MB",
        flush=True,
    )


if __name__ == "__main__":
    main()
