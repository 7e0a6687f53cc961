"""The served graph compared with its int8 matrix products alone, and with `quantize_dynamic` of the same model."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from benchmarks.peers.plain_graph import MASK, TYPES
from benchmarks.rounds import Measurements, interleave, medians, ratio
from benchmarks.texts import Texts
from handler.artifacts.resolver import load
from handler.embedding.embedder import Embedder
from handler.embedding.inference import InferenceSession
from handler.settings import Settings
from model_artifacts.recipe.graph import INPUT, MICROSOFT

Array = NDArray[Any]

TEXTS, TOKENS = 32, 110
LIMITS = (8, 16, 256)  # tokens of the texts whose products alone are compared, besides TOKENS
ROUNDS, SECONDS = 9, 15
LENGTHS = (14, 110)
# The operands of each kind of matrix product, in the order of its inputs.
PRODUCTS = {
    "DynamicQuantizeMatMul": ("value", "weight", "scale", "zero", "bias"),
    "MatMulIntegerToFloat": ("value", "weight", "value_scale", "scale", "value_zero", "zero", "bias"),
}


@dataclass(frozen=True, slots=True)
class GraphTimes:
    """Ratios of times, with one thread each.

    products  the embedder relative to the matrix products of the served graph alone, by tokens per text
    dynamic   the same with 32 texts of 110 tokens, relative to DynamicQuantizeMatMul, which quantizes its input itself
    plain     one text through the served graph, relative to the plain graph, by number of tokens
    """

    products: dict[int, float]
    dynamic: float
    plain: dict[int, float]
    embed_ms: float
    products_ms: float
    dynamic_ms: float


class Recorder:
    """Wraps an ONNX Runtime session and records the inputs of its last run."""

    def __init__(self, session: ort.InferenceSession) -> None:
        self._session = session
        self.feed: dict[str, Array] = {}

    def run(self, names: list[str], feed: dict[str, Array]) -> Any:
        """Record the inputs and run."""
        self.feed = feed
        return self._session.run(names, feed)


def measure(texts: Texts, plain: Path) -> GraphTimes:
    """Measure all ratios, interleaved."""
    settings = Settings(workers=1)
    artifacts = load(settings.models[0], settings)
    embedder, session = Embedder(artifacts, settings), InferenceSession(artifacts.model)
    measured = {tokens: _beside_products(texts, embedder, artifacts.model[:], tokens) for tokens in (TOKENS, *LIMITS)}
    of_products = {tokens: ratio(each["embed"], each["products"]) for tokens, each in measured.items()}
    seconds = medians(measured[TOKENS])
    ids = _ids(max(LENGTHS))
    return GraphTimes(
        products=of_products,
        dynamic=ratio(measured[TOKENS]["embed"], measured[TOKENS]["dynamic"]),
        plain={tokens: _ratio_to_plain(session, plain, ids[:tokens]) for tokens in LENGTHS},
        embed_ms=seconds["embed"] * 1000,
        products_ms=seconds["products"] * 1000,
        dynamic_ms=seconds["dynamic"] * 1000,
    )


def _beside_products(texts: Texts, embedder: Embedder, model: bytes, tokens: int) -> Measurements:
    """Measure the seconds of TEXTS * TOKENS tokens in texts of one length, and of their products in both forms."""
    together = max(1, InferenceSession.batch_tokens // tokens)
    runs = TEXTS * TOKENS // (together * tokens)
    batch = [texts.of_length(tokens) for _ in range(together * runs)]
    products = onnx.load_from_string(model)
    values = _values(InferenceSession(model), products, np.array([_ids(tokens)] * together).T)
    subjects = {
        "embed": _timed(lambda: embedder.embed(batch)),
        "products": _timed(_repeat(*_products(products, values), runs)),
        "dynamic": _timed(_repeat(*_products(products, values, dynamic=True), runs)),
    }
    return interleave(f"products, {tokens} tokens", subjects, ROUNDS, SECONDS)


def _ids(tokens: int) -> list[int]:
    ids: list[int] = np.random.default_rng(0).integers(1000, 30000, tokens).tolist()
    return ids


def _values(session: InferenceSession, model: onnx.ModelProto, ids: Array) -> dict[str, Array]:
    """Return the value of every input of the products, constants included, in a run of texts with these ids."""
    recorder = Recorder(session._session)
    recorded = InferenceSession.__new__(InferenceSession)
    recorded._session = recorder
    recorded.run(ids)
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    wanted = dict.fromkeys(name for node in _nodes(model) for name in node.input if name and name not in constants)
    probed = onnx.ModelProto()
    probed.CopyFrom(model)
    probed.graph.output.extend(onnx.ValueInfoProto(name=name) for name in wanted)
    probe = _one_thread(probed.SerializeToString())
    return constants | dict(zip(wanted, probe.run(list(wanted), recorder.feed), strict=True))


def _nodes(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    return [node for node in model.graph.node if node.op_type in PRODUCTS]


def _products(
    model: onnx.ModelProto, values: dict[str, Array], *, dynamic: bool = False
) -> tuple[ort.InferenceSession, dict[str, Array]]:
    """Return a session of the products alone, unchanged or as DynamicQuantizeMatMul, and its inputs."""
    constants = {tensor.name for tensor in model.graph.initializer}
    nodes: list[onnx.NodeProto] = []
    feed: dict[str, Array] = {}
    kept: dict[str, Array] = {}
    for node in _nodes(model):
        operands = {role: name for role, name in zip(PRODUCTS[node.op_type], node.input, strict=False) if name}
        if dynamic and node.op_type != "DynamicQuantizeMatMul":
            value = operands["value"]
            number = values[value].astype(np.float32) - values[operands["value_zero"]].astype(np.float32)
            operands["value"] = f"{value}.float"
            values = {**values, operands["value"]: (number * values[operands["value_scale"]]).astype(np.float32)}
            inputs = [operands.get(role, "") for role in PRODUCTS["DynamicQuantizeMatMul"]]
            nodes.append(helper.make_node("DynamicQuantizeMatMul", inputs, node.output, node.name, domain=MICROSOFT))
        else:
            nodes.append(node)
        for name in filter(None, nodes[-1].input):
            (kept if name in constants else feed)[name] = values[name]
    # The graph has one output: ONNX Runtime runs every node anyway, and reuses the memory of the other results.
    graph = helper.make_graph(
        nodes,
        "products",
        [helper.make_tensor_value_info(name, _type(value), value.shape) for name, value in feed.items()],
        [helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in kept.items()],
    )
    made = helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    return _one_thread(made.SerializeToString()), feed


def _type(value: Array) -> int:
    return int(helper.np_dtype_to_tensor_dtype(value.dtype))


def _one_thread(model: bytes, level: Any = ort.GraphOptimizationLevel.ORT_DISABLE_ALL) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.graph_optimization_level = level
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _repeat(session: ort.InferenceSession, feed: dict[str, Array], runs: int) -> Callable[[], object]:
    return lambda: [session.run(None, feed) for _ in range(runs)]


def _ratio_to_plain(session: InferenceSession, plain: Path, ids: list[int]) -> float:
    """Return the time of the served graph relative to the plain graph, for one text."""
    plain_session = _one_thread((plain / "model.onnx").read_bytes(), ort.GraphOptimizationLevel.ORT_ENABLE_ALL)
    one = np.array([ids])
    feed = {name: np.ones_like(one) for name in (MASK, TYPES)} | {INPUT: one}
    calls = max(1, 2000 // len(ids))
    subjects = {
        "ours": _timed(lambda: [session.run(one.T) for _ in range(calls)]),
        "plain": _timed(lambda: [plain_session.run(None, feed) for _ in range(calls)]),
    }
    measured = interleave("plain graph", subjects, ROUNDS, SECONDS)
    return ratio(measured["ours"], measured["plain"])


def _timed(work: Callable[[], object]) -> Callable[[int], float]:
    """Return a function that does the work and returns the seconds it took."""

    def seconds(_: int) -> float:
        started = time.perf_counter()
        work()
        return time.perf_counter() - started

    return seconds
