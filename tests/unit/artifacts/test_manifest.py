import json
import math
from dataclasses import asdict
from typing import Any

import pytest

from handler.artifacts import manifest as limits
from handler.artifacts.manifest import MODEL_FILE, SCHEMA_VERSION, TOKENIZER_FILE, Manifest, Reference
from handler.errors import SettingsError
from tests import tiny

DIGEST = "0123456789abcdef" * 4
FILE = {"size": 1, "sha256": "0" * 64}


def parse(**changes: Any) -> Manifest:
    """Parse the tiny model's manifest with other fields."""
    return Manifest.parse(
        json.dumps({"schema": SCHEMA_VERSION, **asdict(tiny.artifacts().manifest), **changes}).encode()
    )


def files(**changes: Any) -> dict[str, Any]:
    return {MODEL_FILE: FILE | changes, TOKENIZER_FILE: FILE}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"aliases": ["a", "someone/tiny.v1", "tiny:latest", "ä" * limits.MAX_NAME]},
        {"aliases": [f"a{number}" for number in range(limits.MAX_ENTRIES)]},
        {"dimensions": 1, "max_tokens": limits.MIN_TOKENS},
        {"dimensions": limits.MAX_DIMENSIONS, "max_tokens": limits.MAX_TOKENS},
        {"prompts": {"query": "", "passage": "x" * limits.MAX_PROMPT}},
        {"files": files(size=limits.MAX_FILE_BYTES)},
        {"graph": "external", "pooling": "none"},
        {"calibration": {}},
        {"calibration": {"int8": limits.MAX_SCALE}},
    ],
)
def test_fields_within_the_limits_are_accepted(changes):
    parsed = asdict(parse(**changes))
    assert {name: parsed[name] for name in changes} == {
        name: tuple(value) if name == "aliases" else value for name, value in changes.items()
    }


def test_manifest_of_an_earlier_version_has_no_calibration():
    fields = {"schema": SCHEMA_VERSION, **asdict(tiny.artifacts().manifest)}
    del fields["calibration"]
    assert Manifest.parse(json.dumps(fields).encode()).calibration == {}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("id", value) for value in ("", "..", "a/b", "a b", "x" * (limits.MAX_NAME + 1))),
        *(("aliases", [value]) for value in (["x"], 5, None, "", "..", "a/../b", "/a", "a/", "a//b", "a b", "a\n")),
        *(("aliases", [value]) for value in ("\ud800", "a@sha256:" + "0" * 64, "x" * (limits.MAX_NAME + 1))),
        *(("dimensions", value) for value in (-1, 0, limits.MAX_DIMENSIONS + 1)),
        *(("max_tokens", value) for value in (-1, 0, limits.MIN_TOKENS - 1, limits.MAX_TOKENS + 1, 1_000_000)),
        *(("prompts", {"query": value}) for value in (5, None, ["x"], "x" * (limits.MAX_PROMPT + 1))),
        *(("files", files(size=value)) for value in (-1, 0, limits.MAX_FILE_BYTES + 1, 1.0, "1", True, None)),
        *(("files", files(sha256=value)) for value in ("", "0" * 63, "0" * 65, "A" * 64, "../" * 21 + "0", 5, None)),
        ("files", {**files(), "../elsewhere": FILE}),
        *(("calibration", {"int8": value}) for value in (0, -1.0, 127.1, math.inf, math.nan, True, "26", None)),
    ],
)
def test_field_out_of_range_is_refused(field, value):
    with pytest.raises(ValueError, match=f"^its field '{field}' is not "):
        parse(**{field: value})


@pytest.mark.parametrize(
    ("field", "value"),
    [("dimensions", True), ("max_tokens", 8.0), ("quality", []), ("calibration", []), ("id", 5)],
)
def test_field_of_the_wrong_type_is_refused(field, value):
    with pytest.raises(ValueError, match=f"^its field '{field}' is missing or not a "):
        parse(**{field: value})


@pytest.mark.parametrize(("field", "value"), [("pooling", "max"), ("graph", "traced"), ("graph", None), ("graph", 5)])
def test_a_value_that_this_version_does_not_know_is_refused(field, value):
    with pytest.raises(ValueError, match=f"^its {field} is '{value}' and this version knows "):
        parse(**{field: value})


def test_a_manifest_without_a_graph_is_of_the_recipes():
    fields = asdict(tiny.artifacts().manifest)
    del fields["graph"]
    assert Manifest.parse(json.dumps({"schema": SCHEMA_VERSION, **fields}).encode()).graph == "recipe"


@pytest.mark.parametrize(
    "changes",
    [
        {"aliases": ["a"] * (limits.MAX_ENTRIES + 1)},
        {"prompts": {str(number): "" for number in range(limits.MAX_ENTRIES + 1)}},
        {"files": files() | {str(number): FILE for number in range(limits.MAX_ENTRIES)}},
    ],
)
def test_too_many_entries_are_refused(changes):
    with pytest.raises(ValueError, match="more than 128 aliases, prompts or files"):
        parse(**changes)


def test_deeply_nested_manifest_is_refused():
    with pytest.raises(ValueError, match="nested too deeply"):
        Manifest.parse(b"[" * 100_000)


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("name", Reference("name")),
        (f"name@sha256:{DIGEST}", Reference("name", DIGEST)),
        ("s3://bucket/models/name", Reference("name", None, "bucket", "models/")),
        (f"s3://bucket/name@sha256:{DIGEST}", Reference("name", DIGEST, "bucket", "")),
        ("build/models/name", Reference("name", folder="build/models/")),
        (f"/my models/name@sha256:{DIGEST}", Reference("name", DIGEST, folder="/my models/")),
        ("../name", Reference("name", folder="../")),
    ],
)
def test_reference_round_trips(text, reference):
    assert Reference.parse(text) == reference
    assert str(reference) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "two words",
        "..",
        "https://host/name",
        "build/",
        "a@b/name",
        "name@sha256:",
        f"name@sha256:{DIGEST[1:]}",
        "s3://bucket",
        "s3://B/name",
        "s3:/b/n",
    ],
)
def test_invalid_reference_is_rejected_with_the_valid_forms(text):
    with pytest.raises(SettingsError, match="NAME@sha256:<64 hex digits>"):
        Reference.parse(text)
