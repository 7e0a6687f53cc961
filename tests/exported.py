"""A tiny graph as publishers export them, and the vectors that common code computes with it."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import quantize_dynamic
from tokenizers import Tokenizer

from tests import tiny

TEXTS = ["the food was good", "a b c", "z", "the foods was good . the food was good", "good", "a b c d e f g"]


def model(output: str = "last_hidden_state", inputs: tuple[str, ...] = ("token_type_ids",)) -> onnx.ModelProto:
    """Return a graph of `input_ids`, `attention_mask` and other inputs, int64 (texts, tokens), to hidden states.

    A token's state depends on the other tokens of its text that the mask admits. `sentence_embedding` is their mean.
    """
    random = np.random.default_rng(3)
    tables = {
        "words": random.normal(0, 1, (len(tiny.WORDS), tiny.HIDDEN)),
        "first": random.normal(0, 0.3, (tiny.HIDDEN, tiny.HIDDEN)),
        "second": random.normal(0, 0.3, (tiny.HIDDEN, tiny.HIDDEN)),
        **{name: random.normal(0, 1, (tiny.MAX_TOKENS, tiny.HIDDEN)) for name in (f"{each}.table" for each in inputs)},
    }
    initializers = [numpy_helper.from_array(table.astype(np.float32), name) for name, table in tables.items()]
    initializers += [numpy_helper.from_array(np.array([axis]), f"axis.{axis}") for axis in (1, 2)]
    nodes: list[onnx.NodeProto] = []

    def node(kind: str, name: str, *given: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(kind, given, [name], name=name, **attributes))
        return name

    state = node("Gather", "state", "words", "input_ids")
    for name in inputs:
        state = node("Add", f"{name}.added", state, node("Gather", f"{name}.state", f"{name}.table", name))
    mask = node("Unsqueeze", "mask", node("Cast", "mask.float", "attention_mask", to=TensorProto.FLOAT), "axis.2")
    count = node("ReduceSum", "count", mask, "axis.1", keepdims=1)
    value = node("Mul", "value", node("Tanh", "tanh", node("MatMul", "product", state, "first")), mask)
    context = node("Div", "context", node("ReduceSum", "sum", value, "axis.1", keepdims=1), count)
    states = node("MatMul", "states", node("Add", "added", value, context), "second")
    if output == "sentence_embedding":
        masked = node("ReduceSum", "masked", node("Mul", "kept", states, mask), "axis.1", keepdims=1)
        node("Squeeze", output, node("Div", "mean", masked, count), "axis.1")
    else:
        node("Identity", output, states)
    axes: list[str | int | None] = (
        ["texts", tiny.HIDDEN] if output == "sentence_embedding" else ["texts", "tokens", tiny.HIDDEN]
    )
    body = helper.make_graph(
        nodes,
        "exported",
        [
            helper.make_tensor_value_info(name, TensorProto.INT64, ["texts", "tokens"])
            for name in ("input_ids", "attention_mask", *inputs)
        ],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, axes)],
        initializers,
    )
    return helper.make_model(body, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def quantize(path: Path) -> None:
    """Quantize a graph as the Hub's exporters do: each run computes scales of whole tensors."""
    quantize_dynamic(path, path)


def vectors(content: bytes, texts: list[str]) -> NDArray[np.float32]:
    """Embed texts in one padded batch, and take the mean over each text's own tokens, as sentence-transformers does."""
    tokenizer = Tokenizer.from_str(tiny.tokenizer_definition().decode())
    tokenizer.enable_padding()
    tokenizer.enable_truncation(12)
    encodings = tokenizer.encode_batch(texts)
    ids, mask, types = (
        np.array([getattr(each, name) for each in encodings]) for name in ("ids", "attention_mask", "type_ids")
    )
    positions = np.broadcast_to(np.arange(ids.shape[1]), ids.shape)
    feeds = {"input_ids": ids, "attention_mask": mask, "token_type_ids": types, "position_ids": positions}
    session = ort.InferenceSession(content)
    output = session.run(None, {each.name: feeds[each.name] for each in session.get_inputs()})[0].astype(np.float32)
    pooled = output if output.ndim == 2 else (output * mask[:, :, None]).sum(axis=1) / mask.sum(axis=1, keepdims=True)
    unit: NDArray[np.float32] = (pooled / np.linalg.norm(pooled, axis=1, keepdims=True)).astype(np.float32)
    return unit


def write_directory(folder: Path, graph: onnx.ModelProto, file: str = "onnx/model.onnx") -> Path:
    """Write a Hugging Face directory with a graph: mean pooling, 12 tokens at most, normalized."""
    tiny.write_directory(folder)
    (folder / "model.safetensors").unlink()
    tiny.write_json(folder / "1_Pooling/config.json", {"pooling_mode_mean_tokens": True})
    (folder / file).parent.mkdir(exist_ok=True)
    onnx.save(graph, folder / file)
    return folder
