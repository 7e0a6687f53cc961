"""The values of a graph's tensors for random texts."""

from collections.abc import Iterator

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from model_artifacts.recipe.graph import INPUT
from model_artifacts.recipe.weights import Weights

CALIBRATION_TEXTS = 256
CALIBRATION_TOKENS = 128  # maximum per text
REPETITIVE = 0.25  # share of the texts that repeat one token, so that attention does not average values out


def observe(
    model: onnx.ModelProto, names: list[str], special: tuple[int, int], weights: Weights, texts: int
) -> dict[str, NDArray[np.float32]]:
    """Run random token sequences; return the values of the named tensors, float32 (all tokens, channels).

    Outlier channels depend on the weights and not on the text: random tokens find the same ones as sentences. So no
    text has to be shipped or licensed, and the model is not fitted to a data set.
    """
    probed = onnx.ModelProto()
    probed.CopyFrom(model)
    probed.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(probed.SerializeToString(), options, providers=["CPUExecutionProvider"])
    observed: dict[str, list[NDArray[np.float32]]] = {name: [] for name in names}
    longest = min(CALIBRATION_TOKENS, len(weights["positions.weight"]) - len(special))
    for ids in random_texts(texts, longest, len(weights["words.weight"]), special):
        for name, value in zip(names, session.run(names, {INPUT: ids}), strict=True):
            observed[name].append(value[:, 0])
    return {name: np.concatenate(values) for name, values in observed.items()}


def random_texts(texts: int, longest: int, vocabulary: int, special: tuple[int, int]) -> Iterator[NDArray[np.int64]]:
    """Yield token IDs, int64 (tokens, 1); the logarithm of the length is uniformly distributed."""
    random = np.random.default_rng(0)
    for _ in range(texts):
        tokens = random.integers(vocabulary // 30, vocabulary, int((longest + 1) ** random.random()))
        if random.random() < REPETITIVE:
            tokens[:] = tokens[0]
        yield np.concatenate([special[:1], tokens, special[1:]])[:, None].astype(np.int64)
