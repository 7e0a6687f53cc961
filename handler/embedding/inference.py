"""ONNX Runtime: token sequences of one length to their hidden states."""

import os
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from handler.artifacts.manifest import Content, Graph
from handler.embedding.pooling import HiddenStates
from handler.embedding.weights import split

# ONNX Runtime sends usage data to Microsoft unless this is set before it is loaded
# (microsoft/onnxruntime#27379, since 1.29).
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import onnxruntime as ort

LAYOUT = ["tokens", "texts"]
# Inputs and outputs of the graphs that publishers export, as transformers and sentence-transformers name them.
INPUTS: dict[str, Callable[[NDArray[np.int64]], NDArray[np.int64]]] = {
    "input_ids": np.asarray,  # (1, tokens), as the others
    "attention_mask": np.ones_like,
    "token_type_ids": np.zeros_like,
    "position_ids": lambda token_ids: np.arange(token_ids.size)[None],
}
VECTOR_OUTPUT = "sentence_embedding"  # (texts, dimensions)
HIDDEN_OUTPUTS = ("last_hidden_state", "token_embeddings")  # (texts, tokens, dimensions)


class InferenceSession:
    """A BERT encoder: `input_ids` int64 (tokens, texts) -> `last_hidden_state` float32 (tokens, texts, hidden).

    The texts of a run have one length, so none is padded, and every scale in the graph is a constant: a text has the
    same hidden states, bit for bit, whatever else is in the batch, and with any number of threads. A run uses
    one thread; the session for texts that come alone has several (see runs.py). `run` releases the GIL.
    """

    # Large enough that reading the weights, once per run, no longer dominates the cost of a short text; more gains
    # nothing, because intermediate results then leave the caches.
    batch_tokens = 256

    def __init__(self, model: Content, threads: int = 1) -> None:
        """Load a serialized ONNX model; each run uses so many threads.

        Raises:
            RuntimeError: ONNX Runtime cannot load it, or a tensor of it is in another file.
            ValueError: its input has another layout, as models of recipes before 0.2 have.
        """
        # The recipe stores the graph as it is to run. ONNX Runtime would fuse Add and LayerNormalization into
        # SkipLayerNormalization, whose CPU kernel is slower: 277 against 44 us for 110 tokens.
        self._session = _load(model, ort.GraphOptimizationLevel.ORT_DISABLE_ALL, threads)
        layout = self._session.get_inputs()[0].shape
        if layout != LAYOUT:
            raise ValueError(f"its input has the layout {layout}; only {LAYOUT} is supported")

    def run(self, token_ids: NDArray[np.int64]) -> HiddenStates:
        """Return the hidden states, float32 (tokens, texts, hidden), of token IDs, int64 (tokens, texts)."""
        hidden_states: HiddenStates = self._session.run(["last_hidden_state"], {"input_ids": token_ids})[0]
        return hidden_states


class ExternalSession:
    """A graph as its publisher exported it: `input_ids` int64 (1, tokens) -> hidden states, or a vector.

    One text a run, and so unpadded: these graphs may quantize by scales of the whole tensor, and the other texts of a
    batch would change a text's bits. A run has one thread: the bits might depend on the number. `output` is the name of
    the output that is read.
    """

    batch_tokens = 1

    def __init__(self, model: Content) -> None:
        """Load a serialized ONNX model.

        Raises:
            RuntimeError: as above.
            ValueError: it has an input that is not known, or no output that is.
        """
        self._session = _load(model, ort.GraphOptimizationLevel.ORT_ENABLE_ALL, threads=1)
        self._inputs = [each.name for each in self._session.get_inputs()]
        outputs = [each.name for each in self._session.get_outputs()]
        self.output = find_output(self._inputs, outputs)

    def run(self, token_ids: NDArray[np.int64]) -> HiddenStates:
        """Return float32 (tokens, 1, hidden) of token IDs, int64 (tokens, 1); every row is the vector, if that is read.

        Raises:
            ValueError: the output has another number of axes.
        """
        text = token_ids.T
        (output,) = self._session.run([self.output], {name: INPUTS[name](text) for name in self._inputs})
        if self.output == VECTOR_OUTPUT:
            return np.broadcast_to(output, (*token_ids.shape, output.shape[-1])).astype(np.float32, copy=False)
        hidden_states: HiddenStates = output.transpose(1, 0, 2).astype(np.float32, copy=False)
        return hidden_states


SESSIONS: dict[Graph, type[InferenceSession | ExternalSession]] = {
    "recipe": InferenceSession,
    "external": ExternalSession,
}


def find_output(inputs: list[str], outputs: list[str]) -> str:
    """Return the output of a publisher's graph that is served: its vector, or else its hidden states.

    Raises:
        ValueError: an input is not known, or no output is.
    """
    known = [name for name in (VECTOR_OUTPUT, *HIDDEN_OUTPUTS) if name in outputs]
    if not known or not {"input_ids"} <= set(inputs) <= INPUTS.keys():
        raise ValueError(
            f"its inputs are {', '.join(inputs)} and its outputs {', '.join(outputs)}; supported are the inputs "
            f"{', '.join(INPUTS)} and one of the outputs {', '.join((VECTOR_OUTPUT, *HIDDEN_OUTPUTS))}"
        )
    return known[0]


def _load(model: Content, level: ort.GraphOptimizationLevel, threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # The threads of a run busy-wait for each other, since waking one takes longer than most operators, until it ends.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.graph_optimization_level = level
    # Planning the reuse of buffers takes a third of the load, and runs gain nothing from it.
    options.enable_mem_reuse = False
    # Tensors in other files have no digest, and ONNX Runtime would read them from the working directory. /dev/null
    # is no folder, so it contains none, and paths that lead out of it are refused.
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", os.devnull)
    graph, weights = split(model)
    # ONNX Runtime copies the weights, and keeps no reference to the bytes.
    options.add_external_initializers(list(weights), list(map(ort.OrtValue.ortvalue_from_numpy, weights.values())))
    session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    # Kept to build the session again if its providers change, which they do not.
    session._model_bytes = None  # noqa: SLF001 - as large as the weights that `split` does not take out
    return session
