"""The model for CTranslate2 and OpenVINO, written in their environments: `python -m benchmarks.peers.convert KIND ...`.

OpenVINO's int8 graph is calibrated with texts from standard input, a JSON list, by NNCF with its settings for
Transformers.
"""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers.engines import load_tokenizer


def ctranslate2(source: Path, target: Path) -> None:
    """Write the model for CTranslate2, which makes it int8 when it loads it."""
    from ctranslate2.converters import TransformersConverter

    TransformersConverter(str(source)).convert(str(target), force=True)
    shutil.copy(source / "tokenizer.json", target)


def openvino(source: Path, target: Path) -> None:
    """Write OpenVINO's graphs `full` and `int8`, from PyTorch."""
    import nncf
    import openvino as engine
    import torch
    from transformers import AutoModel

    names = ("input_ids", "attention_mask", "token_type_ids")

    class Encoder(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.model = AutoModel.from_pretrained(str(source), attn_implementation="sdpa").eval()

        def forward(self, input_ids: Any, attention_mask: Any, token_type_ids: Any) -> Any:
            return self.model(input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids)[0]

    example = {name: torch.ones((2, 9), dtype=torch.long) for name in names}
    shapes = [(name, [-1, -1], engine.Type.i64) for name in names]
    full = engine.convert_model(Encoder(), example_input=example, input=shapes)
    tokenizer = load_tokenizer(source)
    texts = [np.array([encoding.ids]) for encoding in tokenizer.encode_batch(json.load(sys.stdin))]
    samples = [dict(zip(names, (ids, np.ones_like(ids), np.zeros_like(ids)), strict=True)) for ids in texts]
    int8 = nncf.quantize(
        full,
        nncf.Dataset(samples),
        model_type=nncf.ModelType.TRANSFORMER,
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=len(samples),
    )
    for name, graph in {"full": full, "int8": int8}.items():
        folder = target / name
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(source / "tokenizer.json", folder)
        engine.save_model(graph, str(folder / "model.xml"), compress_to_fp16=False)


if __name__ == "__main__":
    kind, source, target = sys.argv[1:]
    {"ctranslate2": ctranslate2, "openvino": openvino}[kind](Path(source), Path(target))
