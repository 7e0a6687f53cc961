"""What tokenizer_config.json may say; it must not contradict tokenizer.json, which is what is served."""

import json

import pytest

from model_artifacts.recipe.configuration import SourceError
from model_artifacts.recipe.tokenizer import FIELDS, IMPOSED, read_tokenizer
from tests import tiny

# As the tiny tokenizer is, if its words were bytes.
STATED = {"do_lower_case": True, "strip_accents": None, "tokenize_chinese_chars": True, "add_prefix_space": False}


@pytest.fixture
def directory(tmp_path):
    (tmp_path / "tokenizer.json").write_bytes(tiny.tokenizer_definition())
    return tmp_path


def test_the_fields_that_are_read_are_these(directory):
    assert FIELDS.read == {"model_max_length", *STATED}
    allowed = dict.fromkeys(FIELDS.without_effect, "anything") | FIELDS.required | STATED
    tiny.write_json(directory / "tokenizer_config.json", {**allowed, "model_max_length": 9})
    tokenizer = read_tokenizer(directory)
    assert (tokenizer.max_tokens, tokenizer.definition) == (9, tiny.tokenizer_definition())


def test_the_file_may_be_missing(directory):
    assert read_tokenizer(directory).max_tokens is None


@pytest.mark.parametrize("field", FIELDS.required)
def test_a_field_that_asks_for_something_else_is_refused(directory, field):
    path = directory / "tokenizer_config.json"
    tiny.write_json(path, {field: "left"})
    with pytest.raises(SourceError, match=f'{path}: {field} is "left"; this recipe builds '):
        read_tokenizer(directory)


def test_an_unknown_field_is_refused(directory):
    tiny.write_json(directory / "tokenizer_config.json", {"surprise": 1})
    with pytest.raises(SourceError, match=r"tokenizer_config\.json: unknown field surprise; remove what changes no "):
        read_tokenizer(directory)


@pytest.mark.parametrize("setting", IMPOSED)
def test_a_setting_that_contradicts_tokenizer_json_is_refused(directory, setting):
    definition = json.loads(tiny.tokenizer_definition())
    definition["pre_tokenizer"] = {"type": "ByteLevel", "add_prefix_space": False}
    tiny.write_json(directory / "tokenizer.json", definition)
    tiny.write_json(directory / "tokenizer_config.json", STATED)
    read_tokenizer(directory)
    tiny.write_json(directory / "tokenizer_config.json", {setting: not STATED[setting]})
    with pytest.raises(SourceError, match=rf"{setting} is \w+, and {IMPOSED[setting][-1]} in tokenizer\.json is \w+"):
        read_tokenizer(directory)
