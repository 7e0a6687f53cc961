"""The largest attention scores of a model, and the form of its attention that they call for.

The exported graph is exact for every score, which takes another pass over the scores of each layer: 1.1 % of the
instructions of all-MiniLM-L6-v2. Clipping them is enough in a layer whose scores stay far below the limit. Ordinary
texts reach it elsewhere: the first layer of that model scores neighbouring tokens by their positions, up to 75 in
sentences, 97 for random tokens and 100 for some pairs of names, all near the end of 256 tokens.
"""

from collections.abc import Sequence

import onnx
from onnx import helper

from model_artifacts.recipe.calibrate import TokenIds, run
from model_artifacts.recipe.export import SCORE_LIMITS

MARGIN = 2  # a layer is clipped if its scores stay below this part of the limit


def largest_scores(exported: onnx.ModelProto, texts: Sequence[TokenIds]) -> dict[str, float]:
    """Return the largest absolute value, over token sequences (tokens, 1), of the maxima of each layer's rows."""
    tops = [node.name for node in exported.graph.node if node.name.endswith(".top")]
    largest = dict.fromkeys(tops, 0.0)
    for values in run(exported, tops, texts):
        for top, value in zip(tops, values, strict=True):
            largest[top] = max(largest[top], float(abs(value).max()))
    return largest


def needs_shift(score: float) -> bool:
    """Return whether a layer with this largest score needs the exact form."""
    return score * MARGIN >= SCORE_LIMITS["most"]


def clip_small_scores(model: onnx.ModelProto, largest: dict[str, float]) -> onnx.ModelProto:
    """Return the graph with scores clipped in place of shifted in the layers that need no shift."""
    layers = {top.removesuffix(".top") for top, score in largest.items() if not needs_shift(score)}
    clipped = onnx.ModelProto()
    clipped.CopyFrom(model)
    del clipped.graph.node[:]
    for node in model.graph.node:
        layer, _, part = node.name.partition(".attention.")
        if f"{layer}.attention" not in layers or part not in ("top", "top.clipped", "shift", "shifted"):
            clipped.graph.node.append(node)
        elif part == "shifted":
            limits = [f"score.{end}" for end in SCORE_LIMITS]
            clipped.graph.node.append(helper.make_node("Clip", [node.input[0], *limits], [node.name], name=node.name))
    return clipped
