import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from model_artifacts.recipe.export import export
from model_artifacts.recipe.source import SourceError, read
from tests import tiny

CONFIG = {
    "model_type": "bert",
    "hidden_act": "gelu",
    "num_hidden_layers": tiny.LAYERS,
    "num_attention_heads": tiny.HEADS,
    "layer_norm_eps": 1e-12,
    "max_position_embeddings": tiny.MAX_TOKENS,
}
MODULES = [
    {"path": "", "type": "sentence_transformers.models.Transformer"},
    {"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    {"path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Lay the tiny model out as a Hugging Face directory."""
    folder = tmp_path / "tiny-bert"
    (folder / "1_Pooling").mkdir(parents=True)
    save_file({f"bert.{name}": array for name, array in tiny.source().weights.items()}, folder / "model.safetensors")
    (folder / "tokenizer.json").write_bytes(tiny.tokenizer_definition())
    write(folder / "config.json", CONFIG)
    write(folder / "modules.json", MODULES)
    write(folder / "1_Pooling/config.json", {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False})
    write(folder / "sentence_bert_config.json", {"max_seq_length": 12})
    write(folder / "config_sentence_transformers.json", {"prompts": {"query": "query: "}})
    return folder


def write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content))


def test_a_directory_is_read_as_sentence_transformers_wrote_it(directory):
    source = read(directory)
    assert (source.id, source.layers, source.heads) == ("tiny-bert", tiny.LAYERS, tiny.HEADS)
    assert (source.pooling, source.normalize, source.max_tokens) == ("cls", True, 12)
    assert source.prompts == {"query": "query: "}
    for name, array in tiny.source().weights.items():
        np.testing.assert_array_equal(source.weights[name], array)
    assert export(source)


def test_without_sentence_transformers_files_its_defaults_hold(directory):
    for name in ("modules.json", "sentence_bert_config.json", "config_sentence_transformers.json"):
        (directory / name).unlink()
    source = read(directory)
    assert (source.pooling, source.normalize, source.max_tokens) == ("mean", False, tiny.MAX_TOKENS)
    assert source.prompts == {}


def test_newer_pooling_configurations_are_read_too(directory):
    write(directory / "1_Pooling/config.json", {"embedding_dimension": 32, "pooling_mode": "mean"})
    assert read(directory).pooling == "mean"


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("config.json", {**CONFIG, "model_type": "roberta"}, "model_type is 'roberta'; this recipe builds 'bert'"),
        ("config.json", {**CONFIG, "hidden_act": "relu"}, "hidden_act is 'relu'"),
        ("1_Pooling/config.json", {"pooling_mode": "max"}, "pooling max; this recipe builds mean or cls"),
    ],
)
def test_other_architectures_are_refused_by_name(directory, file, content, message):
    write(directory / file, content)
    with pytest.raises(SourceError, match=message):
        read(directory)


@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_missing_file_is_named(directory, file):
    (directory / file).unlink()
    with pytest.raises(SourceError, match=f"{file}: no such file"):
        read(directory)
