"""ONNX Runtime: one token sequence to its hidden states."""

import os
from collections.abc import Sequence

import numpy as np

from handler.pooling import HiddenStates

# ONNX Runtime reports on its use to its makers, over the network, unless this stands before it is loaded
# (microsoft/onnxruntime#27379, since 1.29).
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import onnxruntime as ort


class InferenceSession:
    """A BERT encoder: `input_ids` int64 (1, tokens) -> `last_hidden_state` float32 (1, tokens, hidden).

    One thread a run: texts are the unit of parallelism (see embedder.py), and `run` releases the GIL.
    """

    def __init__(self, model: bytes) -> None:
        """Load a serialized ONNX model.

        Raises:
            RuntimeError: ONNX Runtime cannot load it.
        """
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        # The recipe stores the graph as it is to run. ONNX Runtime would fuse Add and LayerNormalization into
        # SkipLayerNormalization, whose CPU kernel is slower: 277 against 44 us for 110 tokens.
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        self._session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def run(self, token_ids: Sequence[int]) -> HiddenStates:
        """Return the hidden states, float32 (tokens, hidden), of one token sequence."""
        (hidden_states,) = self._session.run(["last_hidden_state"], {"input_ids": np.array([token_ids], np.int64)})
        first: HiddenStates = hidden_states[0]
        return first
