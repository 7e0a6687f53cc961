"""What a graph's tensors hold when it reads random texts."""

from collections.abc import Iterator

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from model_artifacts.recipe.export import INPUT
from model_artifacts.recipe.source import Weights

CALIBRATION_TEXTS = 256
CALIBRATION_TOKENS = 128  # at most, of one text
REPETITIVE = 0.25  # share of the calibration texts that repeat one token: their attention does not average anything out


def observe(
    model: onnx.ModelProto, names: list[str], special: tuple[int, int], weights: Weights, texts: int
) -> dict[str, NDArray[np.float32]]:
    """Run random token sequences and keep every token's values, float32 (all tokens, channels).

    Outlier channels belong to the weights, not to what is read: random tokens find the same ones as sentences do, no
    text has to be shipped or licensed, and no data set can be fitted.
    """
    probed = onnx.ModelProto()
    probed.CopyFrom(model)
    probed.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(probed.SerializeToString(), options, providers=["CPUExecutionProvider"])
    seen: dict[str, list[NDArray[np.float32]]] = {name: [] for name in names}
    longest = min(CALIBRATION_TOKENS, len(weights["positions.weight"]) - len(special))
    for ids in random_texts(texts, longest, len(weights["words.weight"]), special):
        for name, value in zip(names, session.run(names, {INPUT: ids}), strict=True):
            seen[name].append(value[:, 0])
    return {name: np.concatenate(values) for name, values in seen.items()}


def random_texts(texts: int, longest: int, vocabulary: int, special: tuple[int, int]) -> Iterator[NDArray[np.int64]]:
    """Yield token ids (tokens, 1), short ones as often as long ones."""
    random = np.random.default_rng(0)
    for _ in range(texts):
        tokens = random.integers(vocabulary // 30, vocabulary, int((longest + 1) ** random.random()))
        if random.random() < REPETITIVE:
            tokens[:] = tokens[0]
        yield np.concatenate([special[:1], tokens, special[1:]])[:, None].astype(np.int64)
