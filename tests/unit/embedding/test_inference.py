import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import NodeProto, TensorProto, helper

from handler.embedding.inference import LAYOUT, InferenceSession
from tests import tiny

TOKEN = np.array([[2]], np.int64)
WEIGHTS = np.arange(tiny.HIDDEN, dtype=np.float32)


def external(location: str) -> TensorProto:
    """Return a tensor whose values are in another file."""
    size = tiny.HIDDEN
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[size], data_location=TensorProto.EXTERNAL)
    for key, value in {"location": location, "length": str(4 * size)}.items():
        tensor.external_data.add(key=key, value=value)
    return tensor


def model(nodes: list[NodeProto], tensors: list[TensorProto]) -> bytes:
    """Return a model that adds `w` to every hidden state, all of them zero."""
    inputs = [helper.make_tensor_value_info("input_ids", TensorProto.INT64, LAYOUT)]
    outputs = [helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, [*LAYOUT, "hidden"])]
    zeros = helper.make_tensor("zeros", TensorProto.FLOAT, [100, tiny.HIDDEN], np.zeros(100 * tiny.HIDDEN))
    nodes = [helper.make_node("Gather", ["zeros", "input_ids"], ["states"]), *nodes]
    graph = helper.make_graph(nodes, "adds", inputs, outputs, [zeros, *tensors])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    return bytes(made.SerializeToString())


def in_initializer(tensor: TensorProto) -> bytes:
    return model([helper.make_node("Add", ["states", "w"], ["last_hidden_state"])], [tensor])


def in_constant(tensor: TensorProto) -> bytes:
    constant = helper.make_node("Constant", [], ["w"], value=tensor)
    return model([constant, helper.make_node("Add", ["states", "w"], ["last_hidden_state"])], [])


def in_subgraph(tensor: TensorProto) -> bytes:
    output = helper.make_tensor_value_info("sum", TensorProto.FLOAT, None)
    branch = helper.make_graph([helper.make_node("Add", ["states", "w"], ["sum"])], "branch", [], [output], [tensor])
    true = helper.make_tensor("true", TensorProto.BOOL, [], [True])
    chosen = helper.make_node("If", ["true"], ["last_hidden_state"], then_branch=branch, else_branch=branch)
    return model([chosen], [true])


def in_sparse_initializer(tensor: TensorProto) -> bytes:
    made = onnx.load_from_string(in_initializer(tensor))
    made.graph.initializer.pop()
    indices = helper.make_tensor("indices", TensorProto.INT64, [tiny.HIDDEN], range(tiny.HIDDEN))
    made.graph.sparse_initializer.add(values=tensor, indices=indices, dims=[tiny.HIDDEN])
    return bytes(made.SerializeToString())


PLACES = [in_initializer, in_constant, in_subgraph, in_sparse_initializer]


@pytest.mark.parametrize("place", PLACES[:3])
def test_tensors_in_the_model_are_read(place: Callable[[TensorProto], bytes]):
    own = helper.make_tensor("w", TensorProto.FLOAT, [tiny.HIDDEN], WEIGHTS)
    np.testing.assert_array_equal(InferenceSession(place(own)).run(TOKEN)[0, 0], WEIGHTS)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("location", ["w.bin", "./w.bin", "models/w.bin", "{up}{here}/w.bin", "{here}/w.bin"])
def test_external_data_is_refused(place: Callable[[TensorProto], bytes], location, tmp_path, monkeypatch):
    """External tensors have no digest; ONNX Runtime would read them from the working directory."""
    (tmp_path / "models").mkdir()
    for path in (tmp_path / "w.bin", tmp_path / "models/w.bin"):
        WEIGHTS.tofile(path)
    monkeypatch.chdir(tmp_path)
    up = "../" * len(Path.cwd().parts)
    with pytest.raises(Exception, match=r"xternal data|w\.bin"):
        InferenceSession(place(external(location.format(up=up, here=tmp_path))))


def test_session_starts_no_threads():
    model, threads = tiny.artifacts().model, Path("/proc/self/task")
    before = set(threads.iterdir())
    session = InferenceSession(model)
    session.run(np.full((4, 2), tiny.OPENING))
    assert set(threads.iterdir()) <= before


def test_the_serialized_model_is_not_kept():
    content = in_initializer(helper.make_tensor("w", TensorProto.FLOAT, [tiny.HIDDEN], WEIGHTS))
    references = sys.getrefcount(content)
    session = InferenceSession(content)
    assert session._session._model_bytes is None
    assert sys.getrefcount(content) == references
    assert session.run(TOKEN).any()
