from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file, save, save_file

from model_artifacts.recipe.configuration import SourceError
from model_artifacts.recipe.export import export
from model_artifacts.recipe.source import read
from model_artifacts.recipe.weights import MPNET_NAMES
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


def test_tokens_are_limited_by_the_tokenizer_if_nothing_else_limits_them(directory):
    tiny.write_json(directory / "tokenizer_config.json", {"model_max_length": 9})
    assert read(directory).max_tokens == 12
    tiny.write_json(directory / "sentence_bert_config.json", {"transformer_task": "feature-extraction"})
    assert read(directory).max_tokens == 9


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("config.json", {**tiny.CONFIG, "model_type": "t5"}, "model_type is 't5'; this recipe builds bert, roberta, "),
        ("config.json", {**tiny.CONFIG, "hidden_act": "relu"}, 'hidden_act is "relu"; this recipe builds "gelu"'),
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


def save_bfloat16(weights: dict[str, NDArray[np.float32]], path: Path) -> None:
    """Write the upper half of each float32; numpy has no such type, so the header of 16-bit integers is changed."""
    content = save({name: (array.view(np.uint32) >> 16).astype(np.uint16) for name, array in weights.items()})
    start = 8 + int.from_bytes(content[:8], "little")
    header = content[8:start].replace(b'"U16"', b'"BF16"')
    path.write_bytes(len(header).to_bytes(8, "little") + header + content[start:])


def test_weights_of_16_bits_are_read_as_float32(directory):
    path, exact = directory / "model.safetensors", read(directory).weights
    save_file({name: array.astype(np.float16) for name, array in exact.items()}, path)
    half = read(directory).weights
    save_bfloat16(exact, path)
    brain = read(directory).weights
    for name, array in exact.items():
        assert half[name].dtype == brain[name].dtype == np.float32
        np.testing.assert_allclose(half[name], array, rtol=2**-10, atol=1e-7)
        np.testing.assert_allclose(brain[name], array, rtol=2**-7)


def test_weights_of_a_relative_have_berts_names(directory):
    expected = read(directory).weights
    names = {berts: theirs for theirs, berts in MPNET_NAMES}
    weights = load_file(directory / "model.safetensors")
    for berts, theirs in names.items():
        weights = {name.replace(berts, theirs): array for name, array in weights.items()}
    renamed = {f"mpnet.{name.removeprefix('bert.')}": array for name, array in weights.items()}
    save_file(renamed | {"mpnet.embeddings.position_ids": np.arange(16)}, directory / "model.safetensors")
    tiny.write_json(directory / "config.json", {**tiny.CONFIG, "model_type": "mpnet"})
    source = read(directory)
    assert source.weights.keys() == expected.keys()
    assert source.first_position == 2
    (directory / "sentence_bert_config.json").unlink()
    assert read(directory).max_tokens == tiny.MAX_TOKENS - 2


def test_missing_weights_are_named(directory):
    weights = load_file(directory / "model.safetensors")
    del weights["bert.encoder.layer.1.output.dense.bias"]
    save_file(weights, directory / "model.safetensors")
    with pytest.raises(SourceError, match=r"model\.safetensors: it has no encoder\.layer\.1\.output\.dense\.bias"):
        read(directory)


def test_a_damaged_weights_file_is_named(directory):
    (directory / "model.safetensors").write_bytes(b"0" * 9)
    with pytest.raises(SourceError, match=r"model\.safetensors: it is no safetensors file: "):
        read(directory)


def test_a_name_and_prompts_can_be_given(directory):
    source = read(directory, "better", {"query": "find: "})
    assert (source.id, source.origin) == ("better", "better")
    assert source.prompts == {"query": "find: ", "passage": "passage: "}


def test_the_working_directory_has_its_own_name(directory, monkeypatch):
    monkeypatch.chdir(directory)
    assert read(Path()).id == "tiny-bert"


@pytest.mark.parametrize("name", ["a" * 40, "..", "a b"])
def test_a_directory_whose_name_is_no_id_needs_one(directory, name):
    with pytest.raises(SourceError, match=f"'{name}' does not name a model: set NAME"):
        read(directory.rename(directory.parent / name) if name != ".." else directory, name if name == ".." else None)
