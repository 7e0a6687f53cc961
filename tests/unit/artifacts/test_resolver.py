import hashlib
import json
import time
from pathlib import Path

import pytest

from handler.artifacts.manifest import MODEL_FILE, SCHEMA_VERSION, TOKENIZER_FILE, Reference
from handler.artifacts.resolver import ArtifactResolver, VerifiedManifest, load
from handler.artifacts.s3 import S3Store
from handler.errors import ArtifactError
from handler.settings import Settings
from tests import tiny


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Save the tiny model; return the folder that contains it."""
    return tiny.save_model(tmp_path).parent


def test_load_returns_the_saved_model(folder):
    loaded = load("tiny", Settings(artifacts=folder))
    assert loaded.manifest == tiny.artifacts().manifest
    assert loaded.model[:] == tiny.artifacts().model
    assert loaded.digest == hashlib.sha256((folder / "tiny/manifest.json").read_bytes()).hexdigest()


def test_load_reads_a_model_of_another_folder(folder, tmp_path_factory):
    loaded = load(f"{folder}/tiny", Settings(artifacts=tmp_path_factory.mktemp("image")))
    assert loaded.digest == load("tiny", Settings(artifacts=folder)).digest
    with pytest.raises(ArtifactError, match=f"model '{folder}/none': {folder}/none/manifest.json does not exist; "):
        load(f"{folder}/none", Settings())


def test_open_notes_when_the_manifest_was_read(folder):
    started = int(time.time())
    assert started <= ArtifactResolver(folder, S3Store()).open(Reference("tiny")).created <= time.time()


def test_pinned_reference_loads_only_the_manifest_with_its_digest(folder):
    digest = load("tiny", Settings(artifacts=folder)).digest
    assert load(f"tiny@sha256:{digest}", Settings(artifacts=folder)).digest == digest
    with pytest.raises(ArtifactError, match=f"its manifest has the SHA-256 {digest}, not the pinned one"):
        load(f"tiny@sha256:{'0' * 64}", Settings(artifacts=folder))


def test_bundled_copies_of_a_published_models_files_are_read(folder):
    (folder / "damaged").mkdir()
    (folder / "damaged/manifest.json").write_text("{")
    artifacts = tiny.artifacts()
    published = VerifiedManifest(Reference.parse("s3://bucket/other"), artifacts.manifest, artifacts.digest, created=0)
    loaded = ArtifactResolver(folder, S3Store()).load(published)  # no S3 is reachable here
    assert (loaded.model[:], loaded.tokenizer) == (artifacts.model, artifacts.tokenizer)


@pytest.mark.parametrize("name", [MODEL_FILE, TOKENIZER_FILE])
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "bytes, and its manifest says"),
        (lambda path: path.write_bytes(b"\0" + path.read_bytes()[1:]), "damaged, its SHA-256 is not the manifest's"),
        (lambda path: path.unlink(), "No such file"),
    ],
    ids=["truncated", "flipped", "missing"],
)
def test_load_rejects_a_damaged_file_and_names_it(folder, name, damage, message):
    damage(folder / "tiny" / name)
    with pytest.raises(ArtifactError, match=message) as raised:
        load("tiny", Settings(artifacts=folder))
    assert str(folder / "tiny" / name) in raised.value.message
    assert "rebuild it with make model" in raised.value.message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not a manifest"),
        ("[]", "not a JSON object"),
        (
            json.dumps({"schema": SCHEMA_VERSION + 1}),
            f"schema is {SCHEMA_VERSION + 1} and this version reads {SCHEMA_VERSION}",
        ),
        (json.dumps({"schema": SCHEMA_VERSION, "id": "tiny"}), "its field 'aliases' is missing or not a list"),
    ],
)
def test_load_rejects_an_invalid_manifest_and_names_the_model(folder, content, message):
    (folder / "tiny/manifest.json").write_text(content)
    with pytest.raises(ArtifactError, match=message) as raised:
        load("tiny", Settings(artifacts=folder))
    assert raised.value.message.startswith("model 'tiny': manifest.json is not a manifest: ")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pooling": "max"}, "pooling is 'max' and this version knows mean, cls"),
        ({"dimensions": "32"}, "'dimensions' is missing or not a int"),
        ({"files": {}}, "not those of schema 1: 'model.onnx'"),
        ({"files": {"model.onnx": 3}}, "not those of schema 1"),
        ({"surprise": 1}, "not those of schema 1.*'surprise'"),
    ],
)
def test_load_rejects_a_manifest_with_invalid_fields(folder, change, message):
    path = folder / "tiny/manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ArtifactError, match=message):
        load("tiny", Settings(artifacts=folder))
