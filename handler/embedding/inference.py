"""ONNX Runtime: token sequences of one length to their hidden states."""

import os

import numpy as np
from numpy.typing import NDArray

from handler.embedding.pooling import HiddenStates

# ONNX Runtime sends usage data to Microsoft unless this is set before it is loaded
# (microsoft/onnxruntime#27379, since 1.29).
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import onnxruntime as ort

LAYOUT = ["tokens", "texts"]


class InferenceSession:
    """A BERT encoder: `input_ids` int64 (tokens, texts) -> `last_hidden_state` float32 (tokens, texts, hidden).

    The texts of a run have one length, so none is padded, and every scale in the graph is a constant: a text has the
    same hidden states, bit for bit, whatever else is in the batch. A run uses one thread: runs are the unit of
    parallelism (see embedder.py), and `run` releases the GIL.
    """

    def __init__(self, model: bytes) -> None:
        """Load a serialized ONNX model.

        Raises:
            RuntimeError: ONNX Runtime cannot load it, or a tensor of it is in another file.
            ValueError: its input has another layout, as models of recipes before 0.2 have.
        """
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        # The recipe stores the graph as it is to run. ONNX Runtime would fuse Add and LayerNormalization into
        # SkipLayerNormalization, whose CPU kernel is slower: 277 against 44 us for 110 tokens.
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        # Tensors in other files have no digest, and ONNX Runtime would read them from the working directory. /dev/null
        # is no folder, so it contains none, and paths that lead out of it are refused.
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", os.devnull)
        self._session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        # Kept to build the session again if its providers change, which they do not. The weights are copied.
        self._session._model_bytes = None  # noqa: SLF001 - 23 MB of memory for the bundled model
        layout = self._session.get_inputs()[0].shape
        if layout != LAYOUT:
            raise ValueError(f"its input has the layout {layout}; only {LAYOUT} is supported")

    def run(self, token_ids: NDArray[np.int64]) -> HiddenStates:
        """Return the hidden states, float32 (tokens, texts, hidden), of token IDs, int64 (tokens, texts)."""
        hidden_states: HiddenStates = self._session.run(["last_hidden_state"], {"input_ids": token_ids})[0]
        return hidden_states
