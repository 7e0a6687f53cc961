"""Cold starts: milliseconds from process start to first response, compared with two other implementations.

make bench-cold

`typical` is benchmarks/peers/typical.py: everything imported at module level, every option on. `baseline` is numpy,
ONNX Runtime, tokenizers and one run of the model, without any HTTP.
"""

import json
import os
import re
import subprocess
import sys
import time
from collections import defaultdict
from dataclasses import dataclass
from functools import partial

from benchmarks.rounds import interleave, medians, ratio
from tests.emulator import ROOT
from tests.events import event

ROUNDS, SECONDS = 15, 60
PHASES = ("Import", "Artifacts", "Session", "FirstRun")  # the function logs ColdStart<phase> for each
EVENT = event("http-api-2.0", json.dumps({"model": "all-MiniLM-L6-v2", "input": "The food was delicious."}))
INVOCATION = f"""
import json, types
context = types.SimpleNamespace(aws_request_id="id", get_remaining_time_in_millis=lambda: 29_000)
response = lambda_handler(json.loads({json.dumps(json.dumps(EVENT))}), context)
assert response["statusCode"] == 200, response
record("first response")
"""
IMPLEMENTATIONS = {
    "ours": f"from handler.main import lambda_handler\nrecord('imports and model')\n{INVOCATION}",
    "typical": f"from benchmarks.peers.typical import lambda_handler\nrecord('imports and model')\n{INVOCATION}",
    "baseline": """
import numpy as np
record("numpy")
import onnxruntime as ort
record("onnxruntime")
from tokenizers import Tokenizer
record("tokenizers")
folder = "model_artifacts/all-MiniLM-L6-v2/"
tokenizer = Tokenizer.from_file(folder + "tokenizer.json")
record("tokenizer.json")
session = ort.InferenceSession(folder + "model.onnx")
record("session")
session.run(None, {"input_ids": np.array([tokenizer.encode("The food was delicious.").ids], np.int64).T})
record("first run")
""",
}
# `record` notes when a phase ends; CLOCK_MONOTONIC is the same for both processes.
PROLOGUE = """
import sys, time
timestamps = []
def record(phase):
    timestamps.append((phase, time.monotonic()))
record("interpreter")
"""
EPILOGUE = """
import json, os
sys.stderr.write(f"\\ntimestamps {json.dumps(timestamps)}\\n")
sys.stdout.flush()
os._exit(0)
"""
ENVIRONMENT = {"AWS_LAMBDA_FUNCTION_NAME": "benchmark", "AUTH_MODE": "none", "AWS_XRAY_SDK_ENABLED": "false"}


@dataclass(frozen=True, slots=True)
class ColdStarts:
    """Milliseconds from process start to first response, by implementation.

    ratios   median over the rounds of our time divided by the other implementation's
    phases   medians by implementation and phase
    imports  packages whose own modules take more than 5 ms to import
    """

    medians: dict[str, float]
    minima: dict[str, float]
    ratios: dict[str, float]
    phases: dict[str, dict[str, float]]
    imports: dict[str, float]


def main() -> None:
    """Print the times, the ratios, the phases and the slow imports."""
    starts = measure()
    print("process start to first response, ms, median (and minimum)")
    for name, median in starts.medians.items():
        print(f"  {name:24}{median:6.0f} ({starts.minima[name]:.0f})")
    print("median ratios: " + ", ".join(f"ours/{name} {each:.2f}" for name, each in starts.ratios.items()))
    for name, phases in starts.phases.items():
        print(f"\n{name}, ms by phase")
        for phase, duration in phases.items():
            print(f"  {phase:24}{duration:6.0f}")
    print("\nimports above 5 ms, own time by package")
    for package, own in starts.imports.items():
        print(f"  {package:24}{own:6.0f}")


def measure() -> ColdStarts:
    """Measure interleaved cold starts of every implementation."""
    phases: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))

    def start(name: str, _: int) -> float:
        started = time.monotonic()
        done = run(PROLOGUE + IMPLEMENTATIONS[name] + EPILOGUE)
        previous = started
        for phase, ended in json.loads(re.findall(r"^timestamps (.*)$", done.stderr, re.MULTILINE)[-1]):
            phases[name][phase].append((ended - previous) * 1000)
            previous = ended
        if name == "ours":
            line = json.loads(done.stdout.splitlines()[0])
            for phase in PHASES[1:]:
                phases["ours, model loading in parallel with the imports"][phase].append(line[f"ColdStart{phase}"][0])
        return (previous - started) * 1000

    starts = {name: partial(start, name) for name in IMPLEMENTATIONS}
    times = interleave("cold starts", starts, ROUNDS, SECONDS)
    return ColdStarts(
        medians=medians(times),
        minima={name: min(each) for name, each in times.items()},
        ratios={name: ratio(times["ours"], times[name]) for name in ("typical", "baseline")},
        phases={name: medians(each) for name, each in phases.items()},
        imports=imports(),
    )


def imports() -> dict[str, float]:
    """Return the packages whose own modules take more than 5 ms to import: the minimum of five runs, model excluded."""
    own: dict[str, float] = defaultdict(float)
    modules: dict[str, list[int]] = defaultdict(list)
    for _ in range(5):
        for line in run("import handler.main", "-X", "importtime", MODELS="none").stderr.splitlines():
            found = re.fullmatch(r"import time: +(\d+) \| +\d+ \| +([\w.]+)", line)
            if found:
                modules[found[2]].append(int(found[1]))
    for module, times in modules.items():
        own[module.partition(".")[0]] += min(times) / 1000
    return {package: each for package, each in sorted(own.items(), key=lambda item: -item[1]) if each > 5}


def environment(**variables: str) -> dict[str, str]:
    """Return the environment of a cold start, which may read and write bytecode caches."""
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return inherited | ENVIRONMENT | variables


def run(code: str, *options: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    """Run a script in a new process."""
    command = [sys.executable, *options, "-c", code]
    return subprocess.run(command, cwd=ROOT, env=environment(**variables), capture_output=True, text=True, check=True)


if __name__ == "__main__":
    main()
