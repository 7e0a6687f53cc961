"""Attention of long texts: the scores of a block of queries at a time, and within a window only those of near keys.

The scores of 8,192 tokens would take 3.2 GB for 12 heads at once. So Scan reads the queries in blocks of one size, at
most BLOCK tokens. The blocks of a text depend on its length alone, and so do its bits. Each row's maximum is subtracted
from its scores, which is exact in any order: of 8,192 exponentials of BERT's largest score, the sum would be infinite.
"""

from dataclasses import dataclass

import numpy as np
from onnx import GraphProto, TensorProto, helper

from model_artifacts.recipe.graph import INPUT, STRIDED, Graph

BLOCK = 128  # smaller blocks are slower, larger ones take more memory
MASKED = -1e9  # added to a score outside of the window, whose exponential is then zero


@dataclass(frozen=True, slots=True)
class Blocks:
    """The names of the int64 tensors by which all layers divide a text's queries into blocks.

    length   tokens of a text, (1)
    rows     queries of a block, (1)
    starts   the first query of each block, (blocks)
    padding  of the queries, before the first and behind the last, (2)
    split    the shape (blocks, rows, texts, heads, width)
    by_head  the shape (tokens, texts, heads, width)
    joined   the shape (blocks x rows, texts, hidden)
    zero     (1)
    """

    length: str
    rows: str
    starts: str
    padding: str
    split: str
    by_head: str
    joined: str
    zero: str


def divide(graph: Graph, heads: int, width: int) -> Blocks:
    """Add the nodes that compute the number of blocks and their size from a text's length."""
    numbers = {"zero": 0, "one": 1, "block": BLOCK, "block.less": BLOCK - 1}
    zero, one, block, less = (graph.constant(name, np.array([number])) for name, number in numbers.items())
    length = graph.node("Shape", "length", [INPUT], start=0, end=1)
    blocks = graph.node("Div", "blocks", [graph.node("Add", "blocks.up", [length, less]), block])
    up = graph.node("Sub", "rows.up", [graph.node("Add", "rows.sum", [length, blocks]), one])
    rows = graph.node("Div", "rows", [up, blocks])
    padded = graph.node("Mul", "padded", [blocks, rows])
    surplus = graph.node("Sub", "surplus", [padded, length])
    ends = [graph.node("Squeeze", f"{name}.scalar", [name]) for name in (zero, padded, rows)]
    sizes = graph.constant("sizes", np.array([-1, heads, width]))
    hidden = graph.constant("hidden", np.array([-1, heads * width]))
    return Blocks(
        length=length,
        rows=rows,
        starts=graph.node("Range", "starts", ends),
        padding=graph.node("Concat", "padding", [zero, surplus], axis=0),
        split=graph.node("Concat", "split", [blocks, rows, sizes], axis=0),
        by_head=graph.node("Concat", "by_head", [length, sizes], axis=0),
        joined=graph.node("Concat", "joined", [padded, hidden], axis=0),
        zero=zero,
    )


def attend(graph: Graph, name: str, blocks: Blocks, read: tuple[str, str, str], window: int | None) -> str:
    """Add scaled dot-product attention (Vaswani et al. 2017, section 3.2); return (tokens, texts, hidden).

    `read` are the queries, keys and values, each (tokens, texts, hidden), and `window` the number of tokens before and
    behind its own that a token attends to, or None for all.
    """
    query, key, value = read
    padded = graph.node("Pad", f"{name}.padded", [query, blocks.padding, "", blocks.zero])
    queries = graph.node("Reshape", f"{name}.queries", [padded, blocks.split])
    keys = graph.node("Reshape", f"{name}.keys", [key, blocks.by_head])
    values = graph.node("Reshape", f"{name}.values", [value, blocks.by_head])
    body = _block(blocks, keys, values, window)
    scanned = graph.node("Scan", f"{name}.blocks", [blocks.starts, queries], body=body, num_scan_inputs=2)
    joined = graph.node("Reshape", f"{name}.joined", [scanned, blocks.joined])
    return graph.node("Slice", name, [joined, blocks.zero, blocks.length, blocks.zero])


def _block(blocks: Blocks, keys: str, values: str, window: int | None) -> GraphProto:
    """Return the graph of one block: its first query (), its queries (rows, texts, heads, width) -> its context."""
    graph = Graph()
    last_axis = graph.constant("last_axis", np.array([-1]))
    if window is None:
        scores = graph.node("FusedMatMul", "scores", ["queries", keys], transBatchA=1, transB=1, **STRIDED)
    else:
        first, last, mask = _window(graph, blocks, window)
        keys = graph.node("Slice", "keys.near", [keys, first, last])
        values = graph.node("Slice", "values.near", [values, first, last])
        near = graph.node("FusedMatMul", "scores.near", ["queries", keys], transBatchA=1, transB=1, **STRIDED)
        scores = graph.node("Add", "scores", [near, mask])
    largest = graph.node("ReduceMax", "largest", [scores, last_axis], keepdims=1)
    powers = graph.node("Exp", "powers", [graph.node("Sub", "differences", [scores, largest])])
    total = graph.node("ReduceSum", "total", [powers, last_axis], keepdims=1)
    shares = graph.node("Div", "shares", [graph.node("FusedMatMul", "sum", [powers, values], **STRIDED), total])
    graph.node("Transpose", "context", [shares], perm=[2, 0, 1, 3])
    return helper.make_graph(
        graph.nodes,
        "block",
        [
            helper.make_tensor_value_info("start", TensorProto.INT64, []),
            helper.make_tensor_value_info("queries", TensorProto.FLOAT, ["rows", "texts", "heads", "width"]),
        ],
        [helper.make_tensor_value_info("context", TensorProto.FLOAT, ["rows", "texts", "heads", "width"])],
        list(graph.initializers.values()),
    )


def _window(graph: Graph, blocks: Blocks, reach: int) -> tuple[str, str, str]:
    """Add the ends of the keys that a block reads, (1) each, and what is added to its scores, (rows, keys)."""
    zero, one, step = (graph.constant(f"window.{n}", np.array(n)) for n in ([0], [1], 1))
    far = graph.constant("reach", np.array([reach]))
    start = graph.node("Unsqueeze", "start.row", ["start", zero])
    end = graph.node("Add", "end", [start, blocks.rows])
    first = graph.node("Max", "first", [graph.node("Sub", "first.unbounded", [start, far]), zero])
    last = graph.node("Min", "last", [graph.node("Add", "last.unbounded", [end, far]), blocks.length])
    ends = {name: graph.node("Squeeze", f"{name}.scalar", [name]) for name in (first, last, end)}
    keys = graph.node("Range", "keys", [ends[first], ends[last], step])
    rows = graph.node("Unsqueeze", "rows.column", [graph.node("Range", "rows.range", ["start", ends[end], step]), one])
    distances = graph.node("Abs", "distances", [graph.node("Sub", "differences.signed", [keys, rows])])
    added = [graph.constant(name, np.array(number, np.float32)) for name, number in (("masked", MASKED), ("seen", 0))]
    return first, last, graph.node("Where", "mask", [graph.node("Greater", "far", [distances, far]), *added])
