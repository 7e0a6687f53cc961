"""The served graph against a plain `quantize_dynamic` of the same model: time per text, interleaved in one run.

python -m benchmarks.plain_graph (with the dependency group `recipe`; `make bench` does both)
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import helper
from onnxruntime.quantization import QuantType, quantize_dynamic

from handler.artifacts import load
from handler.inference import InferenceSession
from handler.settings import Settings
from model_artifacts.recipe import source
from model_artifacts.recipe.export import INPUT, MICROSOFT, export

LENGTHS = (8, 14, 32, 64, 128, 256)
ROUNDS = 15
SECONDS_PER_ROUND = 0.1


def plain_session() -> ort.InferenceSession:
    """Quantize as one would without a recipe: fused attention, `quantize_dynamic`, and ONNX Runtime's own fusions."""
    origin = source.read(None)
    model = export(origin)
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        name = node.name
        if name.endswith(".attention"):
            parts = [f"{name}.query", f"{name}.key", f"{name}.value"]
            nodes += [
                helper.make_node("Split", [f"{name}.qkv.biased"], parts, f"{name}.split", axis=-1, num_outputs=3),
                helper.make_node(
                    "MultiHeadAttention", parts, [name], name, domain=MICROSOFT, num_heads=origin.heads, scale=1.0
                ),
            ]
        elif ".attention." not in name or ".qkv" in name:
            nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    with tempfile.TemporaryDirectory() as folder:
        full, plain = Path(folder, "full.onnx"), Path(folder, "plain.onnx")
        onnx.save(model, full)
        quantize_dynamic(
            full,
            plain,
            per_channel=True,
            reduce_range=True,
            weight_type=QuantType.QInt8,
            extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
        )
        session_options = ort.SessionOptions()
        session_options.intra_op_num_threads = 1
        return ort.InferenceSession(plain.read_bytes(), session_options, providers=["CPUExecutionProvider"])


def main() -> None:
    """Print a row per sequence length."""
    plain = plain_session()
    settings = Settings()
    served = InferenceSession(load(settings.models[0], settings).model)
    random = np.random.default_rng(0)
    print(f"{'tokens':>6} {'plain ms':>9} {'served ms':>9} {'ratio':>6}")
    for length in LENGTHS:
        row = _compare(plain, served, random.integers(1000, 30000, length).tolist())
        print(f"{length:6} {row[0]:9.2f} {row[1]:9.2f} {row[2]:6.2f}")


def _compare(plain: ort.InferenceSession, served: InferenceSession, token_ids: list[int]) -> tuple[float, float, float]:
    """Return the median milliseconds of both and the median of their ratios."""
    feed = {INPUT: np.array([token_ids])}
    times = [(_time(lambda: plain.run(None, feed)), _time(lambda: served.run(feed[INPUT].T))) for _ in range(ROUNDS)]
    theirs, ours = zip(*times, strict=True)
    ratio = statistics.median(mine / other for other, mine in times)
    return statistics.median(theirs), statistics.median(ours), ratio


def _time(run: Callable[[], object]) -> float:
    """Return the mean milliseconds of a call over a tenth of a second."""
    calls, started = 0, time.perf_counter()
    while time.perf_counter() - started < SECONDS_PER_ROUND:
        run()
        calls += 1
    return (time.perf_counter() - started) / calls * 1000


if __name__ == "__main__":
    main()
