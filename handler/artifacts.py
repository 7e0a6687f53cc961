"""A model's files: what the manifest says they are, and nothing else is ever loaded."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from handler.errors import ArtifactError
from handler.pooling import POOLING

SCHEMA = 1
MODEL_FILE = "model.onnx"
TOKENIZER_FILE = "tokenizer.json"
FIELD_TYPES: dict[str, type] = {
    "id": str,
    "aliases": list,
    "dimensions": int,
    "max_tokens": int,
    "pooling": str,
    "normalize": bool,
    "prompts": dict,
    "files": dict,
    "provenance": dict,
    "quality": dict,
}
REMEDY = "restore it with git checkout, or rebuild it with make model"


@dataclass(frozen=True, slots=True)
class File:
    """A file's size in bytes and the SHA-256 of its content in hex."""

    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a model is. Its own SHA-256 is the model's digest.

    id           the name that responses carry
    aliases      other names it answers to
    dimensions   components of a vector
    max_tokens   tokens of the longest text it reads, special tokens included
    pooling      'mean' or 'cls'
    normalize    whether vectors have length one
    prompts      prefix by kind of input ('query', 'passage'), as the model was trained
    files        name -> File
    provenance   where the weights come from and what built the files
    quality      measured against full precision, by data set
    """

    id: str
    aliases: tuple[str, ...]
    dimensions: int
    max_tokens: int
    pooling: str
    normalize: bool
    prompts: Mapping[str, str]
    files: Mapping[str, File]
    provenance: Mapping[str, Any]
    quality: Mapping[str, Any]

    @classmethod
    def parse(cls, content: bytes) -> "Manifest":
        """Read a manifest.json.

        Raises:
            ValueError: it is not JSON, or of another schema, or a field is missing or of the wrong type.
        """
        fields = json.loads(content)
        if not isinstance(fields, dict):
            raise ValueError("it is not a JSON object")  # noqa: TRY004 - one kind of error for all that is wrong in it
        schema = fields.pop("schema", None)
        if schema != SCHEMA:
            raise ValueError(f"its schema is {schema!r} and this version reads {SCHEMA}")
        for name, kind in FIELD_TYPES.items():
            if type(fields.get(name)) is not kind:
                raise ValueError(f"its field '{name}' is missing or not a {kind.__name__}")
        if fields["pooling"] not in POOLING:
            raise ValueError(f"its pooling is '{fields['pooling']}' and this version knows {', '.join(POOLING)}")
        try:
            files = {name: File(**file) for name, file in fields.pop("files").items()}
            _ = files[MODEL_FILE], files[TOKENIZER_FILE]
            return cls(aliases=tuple(fields.pop("aliases")), files=files, **fields)
        except (KeyError, TypeError) as error:
            raise ValueError(f"its fields are not those of schema {SCHEMA}: {error}") from error


@dataclass(frozen=True, slots=True)
class Artifacts:
    """A model's files in memory: the very bytes whose digests were checked."""

    manifest: Manifest
    digest: str
    model: bytes
    tokenizer: bytes


def load(reference: str, folder: Path) -> Artifacts:
    """Load a bundled model by reference: `name`, or `name@sha256:<digest>` for exactly that manifest.

    Raises:
        ArtifactError: a file is missing, damaged or unreadable, or the manifest is not the pinned one.
    """
    name, _, pinned = reference.partition("@sha256:")
    path = folder / name / "manifest.json"
    content = _read(path)
    digest = hashlib.sha256(content).hexdigest()
    if pinned and digest != pinned:
        raise ArtifactError(
            f"{path}: its SHA-256 is {digest}, and '{reference}' pins another; deploy the pinned model, or pin this one"
        )
    try:
        manifest = Manifest.parse(content)
    except ValueError as error:
        raise ArtifactError(f"{path}: not a manifest: {error}; {REMEDY}") from error
    return Artifacts(
        manifest=manifest,
        digest=digest,
        model=_read_checked(path.parent / MODEL_FILE, manifest.files[MODEL_FILE]),
        tokenizer=_read_checked(path.parent / TOKENIZER_FILE, manifest.files[TOKENIZER_FILE]),
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ArtifactError(f"{path}: {error.strerror}; {REMEDY}") from error


def _read_checked(path: Path, expected: File) -> bytes:
    content = _read(path)
    if len(content) != expected.size:
        raise ArtifactError(f"{path}: {len(content)} bytes, and its manifest says {expected.size}; {REMEDY}")
    if hashlib.sha256(content).hexdigest() != expected.sha256:
        raise ArtifactError(f"{path}: damaged, its SHA-256 is not the manifest's; {REMEDY}")
    return content
