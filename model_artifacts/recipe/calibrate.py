"""The values of a graph's tensors for random texts."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from model_artifacts.recipe.graph import INPUT

Array = NDArray[np.float32]
TokenIds = NDArray[np.int64]

CALIBRATION_TEXTS = 256
CALIBRATION_TOKENS = 1 << 15  # of all texts, but for the last: reached by models that read thousands in a text
REPETITIVE = 0.25  # share of the texts that repeat one token, so that attention does not average values out
SAMPLE = 1000  # tokens of which all values are kept


@dataclass(frozen=True, slots=True)
class Observed:
    """A tensor's values: the extremes of each channel, (channels), and those of a sample of tokens, (tokens, channels).

    The samples of all tensors are of the same tokens.
    """

    lowest: Array
    highest: Array
    sample: Array


def observe(model: onnx.ModelProto, names: list[str], texts: Sequence[TokenIds]) -> dict[str, Observed]:
    """Run token sequences, (tokens, 1) each; return what was observed of the named float32 tensors."""
    tokens = sum(map(len, texts))
    chosen = np.sort(np.random.default_rng(0).permutation(tokens)[:SAMPLE])
    lowest: dict[str, list[Array]] = {name: [] for name in names}
    highest: dict[str, list[Array]] = {name: [] for name in names}
    sample: dict[str, list[Array]] = {name: [] for name in names}
    start = 0
    for ids, values in zip(texts, run(model, names, texts), strict=True):
        rows = chosen[(start <= chosen) & (chosen < start + len(ids))] - start
        for name, value in zip(names, values, strict=True):
            lowest[name].append(value.min(axis=(0, 1)))
            highest[name].append(value.max(axis=(0, 1)))
            sample[name].append(value[rows, 0])
        start += len(ids)
    return {
        name: Observed(np.min(lowest[name], axis=0), np.max(highest[name], axis=0), np.concatenate(sample[name]))
        for name in names
    }


def run(model: onnx.ModelProto, names: list[str], texts: Sequence[TokenIds]) -> Iterator[list[Array]]:
    """Yield the values of the named tensors for each token sequence, (tokens, 1)."""
    probed = onnx.ModelProto()
    probed.CopyFrom(model)
    probed.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(probed.SerializeToString(), options, providers=["CPUExecutionProvider"])
    for ids in texts:
        yield session.run(names, {INPUT: ids})


def random_texts(texts: int, longest: int, vocabulary: int, special: tuple[int, int]) -> list[TokenIds]:
    """Return token IDs, int64 (tokens, 1): one text of the longest length, and others with fewer tokens.

    Outlier channels depend on the weights and not on the text: random tokens find the same ones as sentences. So no
    text has to be shipped or licensed, and the model is not fitted to a data set. The logarithm of the length is
    uniformly distributed.
    """
    random = np.random.default_rng(0)
    chosen: list[TokenIds] = []
    count = longest - len(special)
    while len(chosen) < texts and sum(map(len, chosen)) < CALIBRATION_TOKENS:
        tokens = random.integers(vocabulary // 30, vocabulary, count)
        if random.random() < REPETITIVE:
            tokens[:] = tokens[0]
        chosen.append(np.concatenate([special[:1], tokens, special[1:]])[:, None].astype(np.int64))
        count = int((longest - len(special) + 1) ** random.random())
    return chosen
