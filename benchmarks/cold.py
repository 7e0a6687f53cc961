"""Cold starts: from a process's start to its first answer, beside a common way to write it, and the least there is.

make bench-cold
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

from benchmarks.rounds import medians, ratio, take_turns
from tests.emulator import ROOT
from tests.events import event

ROUNDS, SECONDS = 15, 60
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
    "typical": f"from benchmarks.peers.typical import lambda_handler\nlap('imports and model')\n{ANSWER}",
    "baseline": """
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
session.run(None, {"input_ids": np.array([tokenizer.encode("The food was delicious.").ids], np.int64).T})
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


@dataclass(frozen=True, slots=True)
class ColdStarts:
    """Milliseconds from a process's start to its first answer, by way; `ratios` are of ours to the way's, by round.

    `phases` are medians by way and phase, `imports` the packages whose own modules take more than 5 ms.
    """

    medians: dict[str, float]
    minima: dict[str, float]
    ratios: dict[str, float]
    phases: dict[str, dict[str, float]]
    imports: dict[str, float]


def main() -> None:
    """Print the ratios, the phases, and what is imported for more than 5 ms."""
    found = measure()
    print("process start to first answer, ms, median (and shortest)")
    for way, median in found.medians.items():
        print(f"  {way:24}{median:6.0f} ({found.minima[way]:.0f})")
    print(
        "medians of each round's ratios: " + ", ".join(f"ours/{way} {each:.2f}" for way, each in found.ratios.items())
    )
    for way, phases in found.phases.items():
        print(f"\n{way}, ms by phase")
        for phase, duration in phases.items():
            print(f"  {phase:24}{duration:6.0f}")
    print("\nimports above 5 ms, own time by package")
    for package, own in found.imports.items():
        print(f"  {package:24}{own:6.0f}")


def measure() -> ColdStarts:
    """Let the ways take turns."""
    phases: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))

    def start(way: str, _: int) -> float:
        began = time.monotonic()
        done = run(BEGIN + WAYS[way] + END)
        previous = began
        for phase, at in json.loads(re.findall(r"^laps (.*)$", done.stderr, re.MULTILINE)[-1]):
            phases[way][phase].append((at - previous) * 1000)
            previous = at
        if way == "ours":
            line = json.loads(done.stdout.splitlines()[0])
            for phase in PHASES[1:]:
                phases["ours, beside the imports"][phase].append(line[f"ColdStart{phase}"][0])
        return (previous - began) * 1000

    times = take_turns("cold starts", {way: partial(start, way) for way in WAYS}, ROUNDS, SECONDS)
    return ColdStarts(
        medians=medians(times),
        minima={way: min(each) for way, each in times.items()},
        ratios={way: ratio(times["ours"], times[way]) for way in ("typical", "baseline")},
        phases={way: medians(each) for way, each in phases.items()},
        imports=imports(),
    )


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


if __name__ == "__main__":
    main()
