"""Cold starts: from a process's start to its first answer, beside a common way to write it, and the least there is.

make bench-cold
"""

import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from tests.emulator import ROOT
from tests.events import event

ROUNDS = 15
PHASES = ("Import", "Artifacts", "Session", "FirstRun")  # of what the function counts at a cold start
EVENT = event("http-api-2.0", json.dumps({"model": "all-MiniLM-L6-v2", "input": "The food was delicious."}))
ANSWER = f"""
import json, types
context = types.SimpleNamespace(aws_request_id="id", get_remaining_time_in_millis=lambda: 29_000)
answer = lambda_handler(json.loads({json.dumps(json.dumps(EVENT))}), context)
assert answer["statusCode"] == 200, answer
lap("first answer")
"""
WAYS = {
    "ours": f"from handler.main import lambda_handler\nlap('imports and model')\n{ANSWER}",
    "naive": f"from benchmarks.naive import lambda_handler\nlap('imports and model')\n{ANSWER}",
    "floor": """
import numpy as np
lap("numpy")
import onnxruntime as ort
lap("onnxruntime")
from tokenizers import Tokenizer
lap("tokenizers")
folder = "model_artifacts/all-MiniLM-L6-v2/"
tokenizer = Tokenizer.from_file(folder + "tokenizer.json")
lap("tokenizer.json")
session = ort.InferenceSession(folder + "model.onnx")
lap("session")
session.run(None, {"input_ids": np.array([tokenizer.encode("The food was delicious.").ids], np.int64)})
lap("first run")
""",
}
BEGIN = """
import sys, time
laps = []
def lap(phase):
    laps.append((phase, time.monotonic()))
lap("interpreter")
"""
END = """
import json, os
sys.stderr.write(f"\\nlaps {json.dumps(laps)}\\n")
sys.stdout.flush()
os._exit(0)
"""
ENVIRONMENT = {"AWS_LAMBDA_FUNCTION_NAME": "benchmark", "AUTH_MODE": "none", "AWS_XRAY_SDK_ENABLED": "false"}


def main() -> None:
    """Print the ratios, the phases, and what is imported for more than 5 ms."""
    result = measure()
    print("process start to first answer, ms, median (and shortest)")
    for way, median in result["medians"].items():
        print(f"  {way:24}{median:6.0f} ({result['minima'][way]:.0f})")
    print("medians of each round's ratios: " + ", ".join(f"{of} {ratio:.2f}" for of, ratio in result["ratios"].items()))
    for way, phases in result["phases"].items():
        print(f"\n{way}, ms by phase")
        for phase, duration in phases.items():
            print(f"  {phase:24}{duration:6.0f}")
    print("\nimports above 5 ms, own time by package")
    for package, own in result["imports"].items():
        print(f"  {package:24}{own:6.0f}")


def measure(rounds: int = ROUNDS) -> dict[str, Any]:
    """Return what `main` prints, in milliseconds: the ways take turns, and the first round does not count."""
    times: dict[str, list[float]] = defaultdict(list)
    phases: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for _ in range(rounds + 1):
        for way, script in WAYS.items():
            began = time.monotonic()
            done = run(BEGIN + script + END)
            previous = began
            for phase, at in json.loads(re.findall(r"^laps (.*)$", done.stderr, re.MULTILINE)[-1]):
                phases[way][phase].append((at - previous) * 1000)
                previous = at
            times[way].append((previous - began) * 1000)
            if way == "ours":
                line = json.loads(done.stdout.splitlines()[0])
                for phase in PHASES[1:]:
                    phases["ours, beside the imports"][phase].append(line[f"ColdStart{phase}"][0])
    return {
        "medians": {way: statistics.median(of[1:]) for way, of in times.items()},
        "minima": {way: min(of[1:]) for way, of in times.items()},
        "ratios": {f"ours/{way}": _median_ratio(times["ours"][1:], times[way][1:]) for way in ("naive", "floor")},
        "phases": {
            way: {phase: statistics.median(of[1:]) for phase, of in each.items()} for way, each in phases.items()
        },
        "imports": imports(),
    }


def imports() -> dict[str, float]:
    """Return the packages whose own modules take more than 5 ms, the shortest of five imports without a model."""
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


def run(script: str, *options: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    """Run a script in a process of its own, bytecode at hand."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment |= ENVIRONMENT | variables
    command = [sys.executable, *options, "-c", script]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)


def _median_ratio(ours: Iterable[float], theirs: Iterable[float]) -> float:
    return statistics.median(one / other for one, other in zip(ours, theirs, strict=True))


if __name__ == "__main__":
    main()
