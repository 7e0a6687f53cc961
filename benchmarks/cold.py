"""Cold starts: from a process's start to its first answer, beside a common way to write it, and the least there is.

make bench-cold
"""

import json
import os
import re
import statistics
import subprocess
import sys
from collections import defaultdict
from functools import partial

from benchmarks.rounds import medians, ratio, take_turns
from tests.emulator import ROOT
from tests.events import event

ROUNDS, SECONDS = 15, 60
PHASES = ("Import", "Artifacts", "Session", "FirstRun")
EVENT = event("http-api-2.0", json.dumps({"model": "all-MiniLM-L6-v2", "input": "The food was delicious."}))
ANSWER = f"""
import json, types
answer = lambda_handler(json.loads({json.dumps(json.dumps(EVENT))}), types.SimpleNamespace(aws_request_id="id"))
assert answer["statusCode"] == 200, answer
"""
WAYS = {
    "ours": f"from handler.main import lambda_handler\n{ANSWER}",
    "naive": f"from benchmarks.naive import lambda_handler\n{ANSWER}",
    "floor": """
import numpy as np, onnxruntime as ort
from tokenizers import Tokenizer
folder = "model_artifacts/all-MiniLM-L6-v2/"
tokenizer = Tokenizer.from_file(folder + "tokenizer.json")
session = ort.InferenceSession(folder + "model.onnx")
session.run(None, {"input_ids": np.array([tokenizer.encode("The food was delicious.").ids], np.int64)})
""",
}
AGE = """
import os, sys, time
began = int(open("/proc/self/stat").read().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
sys.stderr.write(f"age {(time.clock_gettime(time.CLOCK_BOOTTIME) - began) * 1000}\\n")
sys.stdout.flush()
os._exit(0)
"""
ENVIRONMENT = {"AWS_LAMBDA_FUNCTION_NAME": "benchmark", "AUTH_MODE": "none", "AWS_XRAY_SDK_ENABLED": "false"}


def main() -> None:
    """Print the ratios, our phases, and what is imported for more than 5 ms."""
    phases: list[list[float]] = []
    found = measure(phases)
    print("process start to first answer, ms: " + ", ".join(f"{way} {found[way]:.0f}" for way in WAYS))
    print(f"ours / naive {found['ours/naive']:.2f}   ours / floor {found['ours/floor']:.2f}")
    print("\nour phases, ms")
    for phase, values in zip(PHASES, zip(*phases[1:], strict=True), strict=True):
        print(f"  {phase:12}{statistics.median(values):6.0f}")
    print("\nimports above 5 ms, own time by package")
    for package, own in sorted(imports().items(), key=lambda item: -item[1]):
        if own > 5:
            print(f"  {package:24}{own:6.0f}")


def measure(phases: list[list[float]] | None = None) -> dict[str, float]:
    """Return the median milliseconds by way, and the medians of the rounds' ratios `ours/naive` and `ours/floor`.

    `phases` takes our phases of every round.
    """

    def cold_start(way: str, _: int) -> float:
        done = run(WAYS[way] + AGE)
        if way == "ours" and phases is not None:
            line = json.loads(done.stdout.splitlines()[0])
            phases.append([line[f"ColdStart{phase}"][0] for phase in PHASES])
        return float(re.findall(r"^age (.*)$", done.stderr, re.MULTILINE)[0])

    times = take_turns("cold starts", {way: partial(cold_start, way) for way in WAYS}, ROUNDS, SECONDS)
    ratios = {f"ours/{way}": ratio(times["ours"], times[way]) for way in ("naive", "floor")}
    return medians(times) | ratios


def imports() -> dict[str, float]:
    """Return the milliseconds of a package's own modules, as the interpreter counts them."""
    own: dict[str, float] = defaultdict(float)
    for line in run("import handler.main", "-X", "importtime").stderr.splitlines():
        found = re.fullmatch(r"import time: +(\d+) \| +\d+ \| +([\w.]+)", line)
        if found:
            own[found[2].partition(".")[0]] += int(found[1]) / 1000
    return own


def run(script: str, *options: str) -> "subprocess.CompletedProcess[str]":
    """Run a script in a process of its own, bytecode at hand."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, *options, "-c", script]
    return subprocess.run(command, cwd=ROOT, env=environment | ENVIRONMENT, capture_output=True, text=True, check=True)


if __name__ == "__main__":
    main()
