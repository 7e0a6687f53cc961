"""Time and memory of long texts: python -m benchmarks.long_texts, some minutes.

The models have random weights and the shapes of published ones: neither time nor memory depends on the weights.
"""

import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from handler.embedding.inference import InferenceSession
from model_artifacts.recipe.architecture import Rotary
from model_artifacts.recipe.export import export
from model_artifacts.recipe.quantize import quantize
from model_artifacts.recipe.source import Source
from model_artifacts.recipe.weights import ARCHITECTURES, WORDS

CALIBRATION_TOKENS = 128  # the weights are random, and so is what their scales are for
LENGTHS = (512, 2048, 8192)
SPECIAL = 1, 2


@dataclass(frozen=True, slots=True)
class Encoder:
    """The shape of a published encoder; with a window, two of three layers have it."""

    model_type: str
    layers: int
    hidden: int
    intermediate: int
    vocabulary: int
    window: int | None = None

    @property
    def source(self) -> Source:
        """Random weights of this shape."""
        random, hidden, wide = np.random.default_rng(0), self.hidden, self.intermediate
        shapes = {
            "intermediate.gate": (wide, hidden),
            "intermediate.dense": (wide, hidden),
            "output.dense": (hidden, wide),
        }
        known = ARCHITECTURES[self.model_type]
        parts = [f"encoder.layer.{n}.{part}" for n in range(self.layers) for part in (*known.layer, *known.later)]
        weights = {}
        for name in (*known.encoder, *parts):
            part = name.removesuffix(".weight").split(".", 3)[-1]
            shape = (self.vocabulary, hidden) if name == WORDS else shapes.get(part, (hidden, hidden))
            norm = "LayerNorm" in name
            weights[name] = random.normal(int(norm), 0.03, hidden if norm else shape).astype(np.float32)
        windows = tuple(self.window if layer % 3 else None for layer in range(self.layers))
        return Source(
            id="",
            aliases=(),
            origin="",
            weights=weights,
            weights_sha256="",
            tokenizer=b"",
            layers=self.layers,
            heads=12,
            layer_norm_epsilon=1e-5,
            max_tokens=max(LENGTHS),
            pooling="mean",
            normalize=True,
            prompts={},
            rotary=Rotary((10_000.0,) * self.layers, windows, "gelu" if self.window else "silu"),
        )


ENCODERS = {
    "granite-embedding-small-english-r2": Encoder("modernbert", 12, 384, 1536, 50368, 64),
    "gte-modernbert-base": Encoder("modernbert", 22, 768, 1152, 50368, 64),
    "nomic-embed-text-v1.5": Encoder("nomic_bert", 12, 768, 3072, 30528),
}


def main() -> None:
    """Print a line for each encoder and length, which runs in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        for name, encoder in ENCODERS.items():
            path = Path(folder) / name
            model = quantize(export(encoder.source), SPECIAL, texts=4, longest=CALIBRATION_TOKENS)
            path.write_bytes(model.SerializeToString())
            for length in LENGTHS:
                command = [sys.executable, "-m", "benchmarks.long_texts", str(path), str(length)]
                figures = subprocess.check_output(command, text=True).strip()
                print(f"{name} ({path.stat().st_size / 1e6:.0f} MB), {length} tokens: {figures}", flush=True)


def measure(path: Path, length: int) -> str:
    """Return the processor time of a text of random tokens on one core, and the memory before and at the peak."""
    session = InferenceSession(path.read_bytes())
    ids = np.random.default_rng(0).integers(5, 30000, (length, 1))
    session.run(ids[:8])
    before = memory_mb("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # the peak begins again
    started = time.process_time()
    session.run(ids)
    return f"{time.process_time() - started:.2f} s; {before:.0f} MB, at most {memory_mb('VmHWM'):.0f} MB"


def memory_mb(field: str) -> float:
    """Return a field of this process's status, in MB."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field)]
    return int(line.split()[1]) / 1000


if __name__ == "__main__":
    if sys.argv[1:]:
        print(measure(Path(sys.argv[1]), int(sys.argv[2])))
    else:
        main()
