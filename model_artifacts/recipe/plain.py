"""What ONNX Runtime's own quantization makes of the same graph: what the recipe has to be better than."""

import logging
import tempfile
from pathlib import Path

import onnx


def quantize_plainly(full_precision: bytes) -> bytes:
    """Quantize an exported graph dynamically: int8 weights with a scale per column, and a scale per activation and run.

    Weights have seven bits, as in the models of transformers.js, so that the figures are the same on every processor.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "plain.onnx"
        logging.disable(logging.WARNING)  # it recommends fusions, which the graph has
        try:
            quantize_dynamic(
                onnx.load_from_string(full_precision),
                path,
                per_channel=True,
                reduce_range=True,
                weight_type=QuantType.QInt8,
                extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
            )
        finally:
            logging.disable(logging.NOTSET)
        return path.read_bytes()
