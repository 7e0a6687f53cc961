from pathlib import Path

import numpy as np
import pytest

from model_artifacts.recipe.export import export
from model_artifacts.recipe.source import SourceError, read
from tests import tiny


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tiny.write_directory(tmp_path / "tiny-bert")


def test_read_parses_a_sentence_transformers_directory(directory):
    source = read(directory)
    assert (source.id, source.layers, source.heads) == ("tiny-bert", tiny.LAYERS, tiny.HEADS)
    assert (source.pooling, source.normalize, source.max_tokens) == ("cls", True, 12)
    assert source.prompts == {"query": "query: ", "passage": "passage: "}
    for name, array in tiny.source().weights.items():
        np.testing.assert_array_equal(source.weights[name], array)
    assert export(source)


def test_read_applies_sentence_transformers_defaults_where_its_files_are_missing(directory):
    for name in ("modules.json", "sentence_bert_config.json", "config_sentence_transformers.json"):
        (directory / name).unlink()
    source = read(directory)
    assert (source.pooling, source.normalize, source.max_tokens) == ("mean", False, tiny.MAX_TOKENS)
    assert source.prompts == {}


def test_read_parses_the_newer_pooling_configuration(directory):
    tiny.write_json(directory / "1_Pooling/config.json", {"embedding_dimension": 32, "pooling_mode": "mean"})
    assert read(directory).pooling == "mean"


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("config.json", {**tiny.CONFIG, "model_type": "roberta"}, "model_type is 'roberta'; this recipe builds 'bert'"),
        ("config.json", {**tiny.CONFIG, "hidden_act": "relu"}, "hidden_act is 'relu'"),
        ("1_Pooling/config.json", {"pooling_mode": "max"}, "pooling max; this recipe builds mean or cls"),
    ],
)
def test_read_rejects_unsupported_architectures_by_name(directory, file, content, message):
    tiny.write_json(directory / file, content)
    with pytest.raises(SourceError, match=message):
        read(directory)


@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "tokenizer.json"])
def test_missing_file_error_names_the_file(directory, file):
    (directory / file).unlink()
    with pytest.raises(SourceError, match=f"{file}: no such file"):
        read(directory)
