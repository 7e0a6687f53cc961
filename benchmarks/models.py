"""The shelf's models: memory, cold start, speed and price of those that are built, for docs/models.md.

make bench-models (STS=FILE uses the sentences of STS-B)

Every model in build/models/ that is on the shelf, and the bundled one, is published to an S3 server on loopback. New
processes load it from there, as Lambda does; the figures go to benchmarks/models.json, and from there into the page.
Models that are not built keep the figures that the file has.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.report import cost, models
from benchmarks.rounds import interleave
from benchmarks.texts import Texts
from handler.artifacts.manifest import MANIFEST_FILE, MODEL_FILE, TOKENIZER_FILE, Reference
from handler.artifacts.resolver import load
from handler.embedding.embedder import Embedder
from handler.settings import BUNDLED, Settings
from model_artifacts.recipe import shelf
from model_artifacts.recipe.golden import BUILT
from model_artifacts.recipe.publish import publish
from tests.emulator import ENVIRONMENT, ROOT
from tests.s3 import BUCKET, S3, connect, serve

STARTS = 3
SAMPLE, ROUNDS, SECONDS = 256, 5, 20
STATUS = """
def status(name):
    lines = open("/proc/self/status").read().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) / 1024
"""
# What one model adds: what stays, and the peak, without a server and without S3.
LOAD = f"""{STATUS}
import json, os
import handler.api.app
from handler.artifacts.resolver import load
from handler.embedding.embedder import Embedder
from handler.settings import Settings
before = status("VmRSS")
embedder = Embedder(load(os.environ["MODELS"], Settings()), Settings())
embedder.warm_up()
print(json.dumps({{"serving_mb": status("VmRSS") - before, "loading_mb": status("VmHWM") - before}}))
"""
# A cold start of the function, to the first response.
START = f"""{STATUS}
import json, os, sys, time
from handler.main import lambda_handler
from tests.events import context, event
name = os.environ["MODELS"].rpartition("/")[2].partition("@")[0]
request = event("http-api-2.0", json.dumps({{"model": name, "input": "The food was delicious."}}))
response = lambda_handler(request, context())
assert response["statusCode"] == 200, response
print(json.dumps({{"cold_cpu_s": time.process_time(), "peak_mb": status("VmHWM")}}), file=sys.stderr)
"""


def main() -> None:
    """Measure, and write the file and the page."""
    parser = argparse.ArgumentParser(description="Measure the shelf's models.")
    parser.add_argument("--sts", type=Path, metavar="FILE", help="use the sentences of this split of STS-B (.tsv.gz)")
    parser.add_argument("--write", action="store_true", help="measure nothing; only write the page again")
    arguments = parser.parse_args()
    if not arguments.write:
        measured = measure(Texts(arguments.sts))
        models.save({**models.read(), **measured})
    models.write()
    print(f"wrote {models.PAGE.relative_to(ROOT)}")


def measure(texts: Texts) -> dict[str, Any]:
    """Return the figures of every built model on the shelf, by its name."""
    folders = [BUNDLED / shelf.BUNDLED, *(BUILT / name for name in shelf.read())]
    built = [folder for folder in folders if (folder / MANIFEST_FILE).is_file()]
    with serving() as s3:
        pinned = {folder.name: publish(s3.client, folder, BUCKET) for folder in built}
        return {folder.name: figures(folder, pinned[folder.name], s3, texts) for folder in built}


def figures(folder: Path, pinned: Reference, s3: S3, texts: Texts) -> dict[str, Any]:
    """Return the figures of one model: memory in MB, times in seconds."""
    environment = ENVIRONMENT | s3.environment() | {"MODELS": str(pinned), "AUTH_MODE": "none"}
    started = [run(START, environment) for _ in range(STARTS)]
    embedder = Embedder(load(str(folder), Settings()), Settings(workers=1, long_input="truncate"))
    samples = [texts.sample(index, SAMPLE) for index in range(ROUNDS)]
    tokens = statistics.mean(embedder.embed(sample).tokens / SAMPLE for sample in samples)
    rates = interleave(folder.name, {folder.name: lambda index: rate(embedder, samples[index])}, ROUNDS, SECONDS)
    per_second = statistics.median(rates[folder.name])
    return {
        "digest": pinned.digest,
        "size_mb": round(embedder.manifest.files[MODEL_FILE].size / 1e6, 1),
        "tokenizer_mb": round(embedder.manifest.files[TOKENIZER_FILE].size / 1e6, 1),
        "quality": models.quality(embedder.manifest),
        **{name: round(each) for name, each in run(LOAD, {"MODELS": str(folder)}).items()},
        "peak_mb": round(statistics.median(each["peak_mb"] for each in started)),
        "cold_cpu_s": round(statistics.median(each["cold_cpu_s"] for each in started), 2),
        "texts_per_second": round(per_second),
        "tokens_per_text": round(tokens, 1),
        "dollars": float(f"{cost.price('x86_64', tokens, SAMPLE, per_second, 0):.3g}"),
    }


def rate(embedder: Embedder, sample: list[str]) -> float:
    """Return texts per second of a core: processor time, which other processes disturb less."""
    started = time.process_time()
    embedder.embed(sample)
    return len(sample) / (time.process_time() - started)


def run(script: str, environment: dict[str, str]) -> dict[str, float]:
    """Run a script in a new process, which prints its figures as the last line of its outputs."""
    command = [sys.executable, "-c", script]
    done = subprocess.run(
        command, cwd=ROOT, env={"PATH": os.environ["PATH"], **environment}, capture_output=True, text=True, check=True
    )
    figures: dict[str, float] = json.loads((done.stdout + done.stderr).splitlines()[-1])
    return figures


@contextmanager
def serving() -> Iterator[S3]:
    """Run the S3 server in a process of its own."""
    command = [sys.executable, "-c", "from benchmarks.models import serve_until_closed; serve_until_closed()"]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdin
        assert process.stdout
        url = process.stdout.readline().strip()
        yield S3(url, connect(url))
        process.stdin.close()


def serve_until_closed() -> None:
    """Run as that process: print the URL, and serve until standard input ends."""
    with serve() as s3:
        print(s3.url, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
