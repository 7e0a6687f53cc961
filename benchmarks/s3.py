"""Loading models from S3: the time of several methods, the cold start and the memory.

python -m benchmarks.s3

S3 is moto on loopback, first directly, then behind a relay that adds 15 ms to the first byte and limits each connection
to 90 MB/s, as between Lambda and S3.
"""

import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import onnx
from boto3.s3.transfer import TransferConfig

from benchmarks.cold import PHASES
from handler.artifacts.manifest import Reference
from handler.artifacts.resolver import ArtifactResolver, Artifacts, load
from handler.artifacts.s3 import PART_BYTES, S3Store, blob_key
from handler.settings import Settings
from tests.emulator import ROOT
from tests.s3 import BUCKET, S3, Exchange, connect, relay, serve

MODEL = "all-MiniLM-L6-v2"
ROUNDS = 7
FIRST_BYTE_SECONDS, BYTES_PER_SECOND, CHUNK = 0.015, 90e6, 64 << 10


def main() -> None:
    """Publish a model that the image does not have, and measure."""
    with serving() as (s3, shaped), tempfile.TemporaryDirectory() as folder:
        pinned = s3.publish(Path(folder), variant(), id=f"{MODEL}-variant")
        os.environ.update(s3.environment())
        print(f"{'model of 23 MB, ms':46}{'loopback':>10}{'like S3':>10}")
        for name, fetch in methods(pinned).items():
            print(f"{name:46}{median(fetch, s3.url):10.0f}{median(fetch, shaped):10.0f}")
        os.environ["AWS_ENDPOINT_URL"] = s3.url
        print(f"\n{'cold start, ms':28}" + "".join(f"{phase:>11}" for phase in (*PHASES, "total")))
        bundled, stored = cold_starts(MODEL, str(pinned))
        for name, phases in (("bundled", bundled), ("everything from S3", stored)):
            print(f"{name:28}" + "".join(f"{value:11.0f}" for value in (*phases, sum(phases))))
        print(f"everything from S3 takes {sum(stored) - sum(bundled):.0f} ms longer")
        print(f"peak memory of loading a model of 23 MB: {memory_mb(pinned):.0f} MB")


def variant() -> Artifacts:
    """Return the bundled model with changed files, so that the image has none of their digests."""
    bundled = load(MODEL, Settings())
    model = onnx.load_from_string(bundled.model[:])
    model.doc_string = "a variant"
    return replace(bundled, model=model.SerializeToString(deterministic=True), tokenizer=bundled.tokenizer + b"\n")


def methods(pinned: Reference) -> dict[str, Callable[[S3Store], bytes]]:
    """Return the methods to fetch the model, by name."""
    manifest = ArtifactResolver(Path(), S3Store()).open(pinned).manifest
    file = manifest.files["model.onnx"]
    key = blob_key(pinned, file.sha256)

    def one_request(store: S3Store) -> bytes:
        content: bytes = store._client().get_object(Bucket=BUCKET, Key=key)["Body"].read()
        assert hashlib.sha256(content).hexdigest() == file.sha256
        return content

    def to_disk(_: S3Store) -> bytes:
        config = TransferConfig(multipart_threshold=PART_BYTES, multipart_chunksize=PART_BYTES)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model"
            client(os.environ["AWS_ENDPOINT_URL"]).download_file(BUCKET, key, str(path), Config=config)
            content = path.read_bytes()
        assert hashlib.sha256(content).hexdigest() == file.sha256
        return content

    return {
        "in parts, into memory (as served)": lambda store: store.read_blob(pinned, file),
        "in one request, into memory": one_request,
        "boto3's transfer manager, to disk and back": to_disk,
    }


@cache
def client(url: str) -> Any:
    """Return a client with boto3's defaults: its transfer manager requests an object's size first."""
    return connect(url)


def median(fetch: Callable[[S3Store], bytes], url: str) -> float:
    """Return the median milliseconds of a fetch, without the creation of the client."""
    os.environ["AWS_ENDPOINT_URL"] = url
    store, times = S3Store(), []
    for _ in range(ROUNDS + 1):
        started = time.perf_counter()
        fetch(store)
        times.append(time.perf_counter() - started)
    return statistics.median(times[1:]) * 1000


def cold_starts(*references: str) -> list[list[float]]:
    """Return the median milliseconds of each model's phases, from interleaved cold starts in new processes."""
    environment = os.environ | {"AWS_LAMBDA_FUNCTION_NAME": "benchmark", "AUTH_MODE": "none"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    runs: dict[str, list[list[float]]] = {reference: [] for reference in references}
    for _ in range(ROUNDS + 1):
        for reference in references:
            command = [sys.executable, "-c", "import handler.main"]
            log = subprocess.check_output(command, cwd=ROOT, env=environment | {"MODELS": reference}, text=True)
            line = json.loads(log.splitlines()[0])
            runs[reference].append([line[f"ColdStart{phase}"][0] for phase in PHASES])
    return [[statistics.median(phase) for phase in zip(*run[1:], strict=True)] for run in runs.values()]


def memory_mb(pinned: Reference) -> float:
    """Return the rise of a process's peak memory during the load, in MB, without boto3 and the session."""
    script = f"""
from handler.artifacts.manifest import Reference
from handler.artifacts.resolver import ArtifactResolver
from handler.artifacts.s3 import S3Store
from pathlib import Path
resolver = ArtifactResolver(Path("nothing"), S3Store())
verified = resolver.open(Reference.parse({str(pinned)!r}))
def peak():
    (line,) = [line for line in open("/proc/self/status") if line.startswith("VmHWM")]
    return int(line.split()[1])
before = peak()
resolver.load(verified)
print(peak() - before)
"""
    return int(subprocess.check_output([sys.executable, "-c", script], cwd=ROOT, text=True)) / 1024


@contextmanager
def serving() -> Iterator[tuple[S3, str]]:
    """Start the S3 server and the relay in a separate process; return the server and the relay's URL."""
    command = [sys.executable, "-m", "benchmarks.s3", "serve"]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdin
        assert process.stdout
        url, shaped = process.stdout.readline().split()
        yield S3(url, connect(url)), shaped
        process.stdin.close()


def serve_until_closed() -> None:
    """Run as that process: print both URLs, and serve until standard input ends."""
    with serve() as s3, relay(s3) as shaped:
        shaped.where, shaped.fault = "", delay
        print(s3.url, shaped.url, flush=True)
        sys.stdin.read()


def delay(exchange: Exchange) -> None:
    """Respond with the latency and the rate of S3."""
    time.sleep(FIRST_BYTE_SECONDS)
    if exchange.command == "HEAD":
        exchange.respond(exchange.status, exchange.content)
        return
    exchange.send_head(exchange.status, len(exchange.content))
    started = time.perf_counter()
    for sent in range(0, len(exchange.content), CHUNK):
        exchange.wfile.write(exchange.content[sent : sent + CHUNK])
        time.sleep(max(0, started + (sent + CHUNK) / BYTES_PER_SECOND - time.perf_counter()))


if __name__ == "__main__":
    serve_until_closed() if sys.argv[1:] == ["serve"] else main()
