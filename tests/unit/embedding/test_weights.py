import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from handler.artifacts.resolver import load
from handler.embedding import weights
from handler.embedding.inference import LAYOUT, InferenceSession
from handler.embedding.weights import split
from handler.settings import Settings
from tests import tiny

TOKENS = np.array([[2, 5], [3, 7]], np.int64)
MB = 1 << 20


@pytest.fixture
def small(monkeypatch) -> None:
    """Take the tiny model's tensors out, too; ONNX Runtime requires 128 bytes."""
    monkeypatch.setattr(weights, "MIN_BYTES", 256)


def table(kind: int, rows: int, **fields: object) -> bytes:
    """Return a model that looks its hidden states up in a table, `rows` x 32, of a type."""
    tensor = numpy_helper.from_array(np.ones((rows, 32), helper.tensor_dtype_to_np_dtype(kind)), "table")
    for name, value in fields.items():
        setattr(tensor, name, value)
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["rows"]),
        helper.make_node("Cast", ["rows"], ["last_hidden_state"], to=TensorProto.FLOAT),
    ]
    inputs = [helper.make_tensor_value_info("input_ids", TensorProto.INT64, LAYOUT)]
    outputs = [helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, [*LAYOUT, 32])]
    graph = helper.make_graph(nodes, "table", inputs, outputs, [tensor])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    return bytes(made.SerializeToString())


def test_the_rest_and_the_weights_are_the_model():
    content = load("all-MiniLM-L6-v2", Settings()).model[:]
    rest, taken = split(content)
    model, whole = onnx.load_from_string(rest), onnx.load_from_string(content)
    for tensor, original in zip(model.graph.initializer, whole.graph.initializer, strict=True):
        if tensor.name in taken:
            np.testing.assert_array_equal(taken[tensor.name], numpy_helper.to_array(original))
            assert tensor.data_location == TensorProto.EXTERNAL
            tensor.ClearField("external_data")
            tensor.ClearField("data_location")
            tensor.raw_data = taken[tensor.name].tobytes()
    assert model == whole
    assert len(rest) < len(content) / 50


@pytest.mark.usefixtures("small")
def test_hidden_states_are_the_same_bits(monkeypatch):
    content = tiny.artifacts().model
    assert {array.dtype.name for array in split(content)[1].values()} == {"float32", "int8"}
    ours = InferenceSession(content).run(TOKENS)
    monkeypatch.setattr(weights, "MIN_BYTES", 1 << 30)
    assert not split(content)[1]
    np.testing.assert_array_equal(ours, InferenceSession(content).run(TOKENS))


@pytest.mark.usefixtures("small")
def test_the_session_does_not_read_the_bytes_later():
    content = bytearray(tiny.artifacts().model)
    session = InferenceSession(content)  # type: ignore[arg-type]
    before = session.run(TOKENS)
    content[:] = bytes(len(content))
    np.testing.assert_array_equal(session.run(TOKENS), before)


@pytest.mark.parametrize("kind", [TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.UINT8, TensorProto.INT64])
def test_tensors_of_other_types_stay_in_the_model(kind):
    content = table(kind, 1 << 13)
    assert bool(split(content)[1]) == (kind != TensorProto.INT64)
    assert (InferenceSession(content).run(TOKENS) == 1).all()


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(table(TensorProto.INT8, 1 << 13)[:-1], id="cut"),
        pytest.param(table(TensorProto.INT8, 1 << 13, raw_data=bytes(MB)), id="another size than its shape"),
        pytest.param(b"\x0b", id="no protobuf"),
        pytest.param(b"\x80", id="unfinished number"),
    ],
)
def test_damaged_model_is_refused(content):
    with pytest.raises((ValueError, IndexError)):
        split(content)


def test_loading_takes_the_memory_of_the_weights_once(tmp_path):
    (tmp_path / "model.onnx").write_bytes(table(TensorProto.INT8, 3 * MB))  # 96 MB
    script = f"""
from pathlib import Path
from handler.embedding.inference import InferenceSession
def peak():
    (line,) = [line for line in open("/proc/self/status") if line.startswith("VmHWM")]
    return int(line.split()[1]) >> 10
content = Path({str(tmp_path / "model.onnx")!r}).read_bytes()
before = peak()
session = InferenceSession(content)
print(peak() - before)
"""
    root = Path(__file__).parents[3]
    risen = int(subprocess.check_output([sys.executable, "-c", script], cwd=root, text=True))
    assert 90 < risen < 120
