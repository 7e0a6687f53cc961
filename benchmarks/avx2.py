"""Runs the suite with AVX2 alone on a processor that has more: make bench AVX2=1.

python -m benchmarks.avx2 [arguments of benchmarks.suite]

Each environment is copied by hard links to build/avx2/, but for its libraries that ask for the processor's extensions:
in these, every `cpuid` instruction becomes `ud2`, which avx2.c handles without AVX-512, VNNI and AMX. So ONNX Runtime,
PyTorch, OpenVINO, CTranslate2 and NumPy are all treated alike, and each chooses its own code for AVX2. It needs gcc,
objdump and readelf. What they cost is not what an older processor would: its clock and caches stay this one's.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.emulator import ROOT

COPIES = ROOT / "build/avx2"
PEERS = ("fastembed", "sentence-transformers", "ctranslate2", "openvino")
ENVIRONMENTS = {"project": ROOT / ".venv"} | {name: ROOT / "build/peers" / name for name in PEERS}
LIBRARY = COPIES / "hide.so"
HIDDEN = "AVX512_HIDDEN"  # the variable that says so
CPUID, UD2 = b"\x0f\xa2", b"\x0f\x0b"
MIN_FALL = 1.3  # of the speed of int8 products, if the processor has VNNI or AMX
PROBE = """
import time
import numpy as np
import onnxruntime as ort
from pathlib import Path
from handler.settings import Settings
from handler.artifacts.resolver import load
from handler.embedding.inference import InferenceSession
settings = Settings(workers=1)
session = InferenceSession(load(settings.models[0], settings).model)
ids = np.random.default_rng(0).integers(1000, 30000, (256, 1))
times = []
for _ in range(20):
    started = time.process_time()
    session.run(ids)
    times.append(time.process_time() - started)
print(min(times))
"""


def hidden() -> bool:
    """Return whether this process sees AVX2 alone."""
    return HIDDEN in os.environ


def main() -> None:
    """Copy the environments, check that the extensions are hidden, and run the suite."""
    COPIES.mkdir(parents=True, exist_ok=True)
    source = Path(__file__).with_suffix(".c")
    subprocess.run(["gcc", "-O2", "-shared", "-fPIC", "-o", str(LIBRARY), str(source)], check=True)
    for name, environment in ENVIRONMENTS.items():
        copy(environment, COPIES / name)
    python = str(COPIES / "project/bin/python")
    variables = os.environ | {HIDDEN: "1", "LD_PRELOAD": str(LIBRARY)}
    visible, without = _probe(sys.executable, dict(os.environ)), _probe(python, variables)
    print(f"256 tokens: {visible * 1000:.1f} ms, with AVX2 alone {without * 1000:.1f} ms of processor time")
    if without < MIN_FALL * visible:
        sys.exit("AVX-512 is not hidden, or this processor has neither VNNI nor AMX: make bench measures it as it is")
    sys.exit(subprocess.call([python, "-m", "benchmarks.suite", *sys.argv[1:]], cwd=ROOT, env=variables))


def copy(environment: Path, target: Path) -> None:
    """Copy an environment by hard links, with `cpuid` replaced in its libraries; an existing copy is kept."""
    done = target / "copied"
    newest = max(path.stat().st_mtime for path in environment.glob("ready*"))
    if done.exists() and done.stat().st_mtime >= newest:
        return
    print(f"copying {environment} to {target}", flush=True)
    shutil.rmtree(target, ignore_errors=True)
    subprocess.run(["cp", "-al", str(environment.resolve()), str(target)], check=True)
    for path in target.rglob("*.so*"):
        if path.is_file() and not path.is_symlink() and CPUID in (content := path.read_bytes()):
            # Several environments have PyTorch, whose libraries take a minute.
            patched = COPIES / "libraries" / hashlib.sha256(content).hexdigest()
            if not patched.exists():
                patched.parent.mkdir(exist_ok=True)
                patched.write_bytes(without_cpuid(path, content))
            path.unlink()
            path.hardlink_to(patched)
    done.touch()


def without_cpuid(path: Path, content: bytes) -> bytes:
    """Return a library's content with every `cpuid` instruction replaced."""
    headers = subprocess.run(["readelf", "-lW", str(path)], capture_output=True, text=True, check=True).stdout
    found = re.findall(r"LOAD\s+(0x\w+)\s+(0x\w+)\s+0x\w+\s+(0x\w+)", headers)
    segments = [tuple(int(number, 16) for number in each) for each in found]
    changed = bytearray(content)
    disassembly = ["objdump", "-d", "--no-show-raw-insn", str(path)]
    with subprocess.Popen(disassembly, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        for line in process.stdout:
            if line.endswith("\tcpuid\n"):
                address = int(line.partition(":")[0], 16)
                place = next(
                    address - start + offset for offset, start, size in segments if 0 <= address - start < size
                )
                if changed[place : place + 2] != CPUID:
                    raise ValueError(f"{path}: no cpuid at {place:#x}")
                changed[place : place + 2] = UD2
    return bytes(changed)


def _probe(python: str, variables: dict[str, str]) -> float:
    done = subprocess.run([python, "-c", PROBE], cwd=ROOT, env=variables, capture_output=True, text=True, check=True)
    return float(done.stdout)


if __name__ == "__main__":
    main()
