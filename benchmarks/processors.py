"""The same texts on this processor and on an emulated Haswell (AVX2, no AVX-512, no VNNI): how many components differ.

python -m benchmarks.processors (needs qemu-x86_64, Debian's package qemu-user; minutes, for emulation is slow)
"""

import argparse
import shutil
import subprocess
import sys

import numpy as np

from handler.artifacts import load
from handler.embedder import Embedder
from handler.settings import Settings
from model_artifacts.recipe.golden import Golden

EMULATOR = ["qemu-x86_64", "-cpu", "Haswell"]


def main() -> None:
    """Embed every n-th golden text here and there, and compare bit by bit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=int, default=4, help="take every n-th of the 224 golden texts (default 4)")
    parser.add_argument("--embed-only", action="store_true", help="write the vectors' bytes to standard output")
    arguments = parser.parse_args()
    if arguments.embed_only:
        sys.stdout.buffer.write(embed(arguments.every).tobytes())
        return
    if shutil.which(EMULATOR[0]) is None:
        sys.exit(f"{EMULATOR[0]} is not on the PATH: apt-get install qemu-user")
    command = [*EMULATOR, sys.executable, "-m", "benchmarks.processors", "--embed-only", f"--every={arguments.every}"]
    there = np.frombuffer(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout, np.float32)
    here = embed(arguments.every)
    differing = int((here != there.reshape(here.shape)).sum())
    print(f"{len(here)} texts, {here.size:,} components: {differing} differ from those of {' '.join(EMULATOR)}")


def embed(every: int) -> np.ndarray:
    """Return the vectors of every n-th golden text, on one worker."""
    settings = Settings()
    folder = settings.artifacts / settings.models[0]
    texts = Golden.read(folder / "golden.json").texts[::every]
    return Embedder(load(settings.models[0], settings), settings).embed(texts).vectors


if __name__ == "__main__":
    main()
