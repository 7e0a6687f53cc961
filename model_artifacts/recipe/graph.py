"""ONNX graphs under construction, and the nodes that all encoders have."""

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from model_artifacts.recipe.source import Source

OPSET = 21
MICROSOFT = "com.microsoft"
INPUT = "input_ids"
OUTPUT = "last_hidden_state"
# FusedMatMul reads (tokens, texts, heads, width) as texts x heads matrices without copying.
STRIDED: dict[str, Any] = {"domain": MICROSOFT, "transBatchB": 1}


class Graph:
    """ONNX nodes and initializers under construction."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, onnx.TensorProto] = {}

    def constant(self, name: str, value: NDArray[Any]) -> str:
        """Add an initializer; return its name."""
        self.initializers[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def node(self, kind: str, name: str, inputs: list[str], **attributes: Any) -> str:
        """Add a node with one output; return the name of both."""
        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def linear(self, name: str, value: str, weight: NDArray[np.float32], bias: NDArray[np.float32]) -> str:
        """Add `value @ weight + bias`, weight (in, out)."""
        product = self.node("MatMul", name, [value, self.constant(f"{name}.weight", weight)])
        return self.node("Add", f"{name}.biased", [product, self.constant(f"{name}.bias", bias)])


class EncoderGraph(Graph):
    """A graph under construction with the weights of its source, which are given by name."""

    def __init__(self, source: Source) -> None:
        super().__init__()
        self.source = source

    def normalize(self, name: str, value: str, weights: str) -> str:
        """Add a LayerNormalization; without a shift in the source, it is zero."""
        gain = self.source.weights[f"{weights}.weight"]
        shift = self.source.weights.get(f"{weights}.bias", np.zeros_like(gain))
        constants = [self.constant(f"{name}.gain", gain), self.constant(f"{name}.shift", shift)]
        epsilon = self.source.layer_norm_epsilon
        return self.node("LayerNormalization", name, [value, *constants], epsilon=epsilon, axis=-1)

    def project(self, name: str, value: str, weights: str, scale: float = 1) -> str:
        """Add `scale` times a matrix product, which costs nothing at run time; without a bias, it is zero."""
        weight = self.source.weights[f"{weights}.weight"].T * np.float32(scale)
        bias = self.source.weights.get(f"{weights}.bias", np.zeros(weight.shape[1], np.float32)) * np.float32(scale)
        return self.linear(name, value, weight, bias)


def assemble(graph: Graph) -> onnx.ModelProto:
    """Close a graph into a model of texts of one length: `input_ids` in, `last_hidden_state` out."""
    body = helper.make_graph(
        graph.nodes,
        "encoder",
        [helper.make_tensor_value_info(INPUT, TensorProto.INT64, ["tokens", "texts"])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["tokens", "texts", "hidden"])],
        list(graph.initializers.values()),
    )
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(MICROSOFT, 1)]
    return helper.make_model(body, opset_imports=opsets, ir_version=10, producer_name="serverless-embeddings")
