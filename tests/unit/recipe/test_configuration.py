"""What the files of sentence-transformers may say; each other field, value or module is refused by its name."""

from pathlib import Path

import pytest

from model_artifacts.recipe.configuration import (
    READ,
    REQUIRED,
    WITHOUT_EFFECT,
    SourceError,
    read_configuration,
    read_fields,
)
from tests import tiny

FILES = {"Pooling": "1_Pooling/config.json", "Normalize": "2_Normalize/config.json"}  # read_dense reads Dense's
DENSE = {"path": "2_Dense", "type": "sentence_transformers.base.modules.dense.Dense"}
DROPOUT = {"path": "2_Dropout", "type": "sentence_transformers.models.Dropout"}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    folder = tiny.write_directory(tmp_path / "tiny-bert")
    (folder / "2_Normalize").mkdir()
    return folder


def test_the_fields_that_are_read_are_these():
    assert {file: sorted(fields) for file, fields in READ.items()} == {
        "sentence_bert_config.json": ["max_seq_length"],
        "config_sentence_transformers.json": ["default_prompt_name", "prompts"],
        "Pooling": [
            "pooling_mode",
            "pooling_mode_cls_token",
            "pooling_mode_lasttoken",
            "pooling_mode_max_tokens",
            "pooling_mode_mean_sqrt_len_tokens",
            "pooling_mode_mean_tokens",
            "pooling_mode_weightedmean_tokens",
        ],
        "Dense": ["activation_function", "bias"],
    }


@pytest.mark.parametrize("file", REQUIRED)
def test_an_unknown_field_is_refused(directory, file):
    path = directory / FILES.get(file, file)
    tiny.write_json(path, {"surprise": 1})
    with pytest.raises(SourceError, match=f"{path}: unknown field surprise; this recipe knows "):
        read_fields(path, file)


@pytest.mark.parametrize(("file", "field"), [(file, field) for file, fields in REQUIRED.items() for field in fields])
def test_a_field_that_asks_for_something_else_is_refused(directory, file, field):
    path = directory / FILES.get(file, file)
    tiny.write_json(path, dict.fromkeys(WITHOUT_EFFECT[file], "anything") | {field: REQUIRED[file][field]})
    read_fields(path, file)
    tiny.write_json(path, {field: "other"})
    with pytest.raises(SourceError, match=f'{path}: {field} is "other"; this recipe builds '):
        read_fields(path, file)


@pytest.mark.parametrize("file", ["sentence_bert_config.json", "config_sentence_transformers.json", *FILES])
def test_every_file_is_read(directory, file):
    path = directory / FILES.get(file, file)
    tiny.write_json(path, {"surprise": 1})
    with pytest.raises(SourceError, match=f"{path}: unknown field surprise"):
        read_configuration(directory)


@pytest.mark.parametrize(
    ("modules", "message"),
    [
        ([*tiny.MODULES, DROPOUT], "unknown module Dropout; this recipe knows Dense, Normalize, Pooling, Transformer"),
        ([*tiny.MODULES, DENSE], "its modules are Transformer, Pooling, Normalize, Dense; "),
        ([tiny.MODULES[0], tiny.MODULES[2], tiny.MODULES[1]], "its modules are Transformer, Normalize, Pooling; "),
        ([tiny.MODULES[0]], "its modules are Transformer; "),
        ([*tiny.MODULES, tiny.MODULES[2]], "its modules are Transformer, Pooling, Normalize; "),
    ],
)
def test_other_modules_are_refused(directory, modules, message):
    tiny.write_json(directory / "modules.json", modules)
    with pytest.raises(SourceError, match=f"modules.json: {message}"):
        read_configuration(directory)


@pytest.mark.parametrize(
    ("settings", "pooling"),
    [
        ({"pooling_mode": "mean", "embedding_dimension": 32}, "mean"),
        ({"pooling_mode": ["cls"]}, "cls"),
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}, "mean"),
        ({}, "mean"),
    ],
)
def test_pooling_is_read_from_a_mode_or_from_flags(directory, settings, pooling):
    tiny.write_json(directory / FILES["Pooling"], settings)
    assert read_configuration(directory).pooling == pooling


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({"pooling_mode": "lasttoken"}, '"lasttoken"'),
        ({"pooling_mode": ["cls", "mean"]}, r'\["cls", "mean"\]'),
        ({"pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": True}, r'\["mean", "max"\]'),
    ],
)
def test_other_pooling_is_refused(directory, settings, found):
    tiny.write_json(directory / FILES["Pooling"], settings)
    with pytest.raises(SourceError, match=f"pooling {found}; this recipe builds mean or cls"):
        read_configuration(directory)


def test_the_default_prompt_has_the_empty_name(directory):
    prompts = {"query": "find: ", "document": "passage: ", "other": ""}
    path = directory / "config_sentence_transformers.json"
    tiny.write_json(path, {"prompts": prompts, "default_prompt_name": "document"})
    expected = {"query": "find: ", "passage": "passage: ", "": "passage: "}
    assert read_configuration(directory).prompts == expected
    tiny.write_json(path, {"prompts": prompts, "default_prompt_name": "none"})
    with pytest.raises(SourceError, match=r"default_prompt_name is 'none', and there are prompts for \['document', "):
        read_configuration(directory)
    tiny.write_json(path, {"prompts": {"document": "a", "passage": "b"}})
    with pytest.raises(SourceError, match="prompts for both document and passage"):
        read_configuration(directory)


def test_a_damaged_file_is_named(directory):
    (directory / "config_sentence_transformers.json").write_text("{")
    with pytest.raises(SourceError, match=r"config_sentence_transformers\.json: it is not JSON: "):
        read_configuration(directory)
