"""A model's reference, as an operator writes it, and its manifest."""

import hashlib
import json
import mmap
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, get_args

from handler.errors import SettingsError

Pooling = Literal["mean", "cls", "none"]
Graph = Literal["recipe", "external"]
# The names that Voyage and Mistral gave them, and float16.
OutputDtype = Literal["float", "float16", "int8", "uint8", "binary", "ubinary"]
PACKED: frozenset[OutputDtype] = frozenset({"binary", "ubinary"})  # 8 components to a byte
CALIBRATED: frozenset[OutputDtype] = frozenset({"int8", "uint8"})
SCHEMA_VERSION = 1
MANIFEST_FILE = "manifest.json"
MODEL_FILE = "model.onnx"
TOKENIZER_FILE = "tokenizer.json"
Content = bytes | mmap.mmap  # of a file
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
    "calibration": dict,
}
DEFAULTS: dict[str, Any] = {"calibration": {}}  # of the fields that older manifests lack
# Names that a request can contain: no path segment is `.` or `..`, and `@` begins a digest.
NAME = r"[\w.-]*\w[\w.-]*"
ALIAS = f"{NAME}(?:[/:]{NAME})*"
SHA256 = "[0-9a-f]{64}"
DIGEST_MARK = "@sha256:"  # between a name and the digest that the model of that name must have

MAX_MANIFEST_BYTES = 1 << 20
MAX_FILE_BYTES = (1 << 31) - 1  # the largest message that protobuf reads
MAX_ENTRIES = 128  # of aliases, which responses list; the same for prompts and files
MAX_NAME = 256  # characters, as of a request's `model`
MAX_PROMPT = 512  # characters, before every text: 1 MB for the 2048 texts of the largest request
MAX_DIMENSIONS = 8192  # twice those of the largest embedding models
MAX_SCALE = 127  # of int8: at most one component of a vector is as large as the vector
MIN_TOKENS, MAX_TOKENS = 3, 8192  # a token between two special ones; the positions of the longest BERT encoders


def sha256_of(content: Content) -> str:
    """Return the SHA-256 of `content` in hex."""
    return hashlib.sha256(content).hexdigest()


@dataclass(frozen=True, slots=True)
class Reference:
    """A model's `name`, `folder/name` or `s3://bucket/prefix/name`, each with `@sha256:<digest>` for one manifest only.

    name    the model's ID, and its folder
    digest  the SHA-256 that its manifest must have, in hex; None for any
    bucket  the bucket in which it is published; None for the image
    prefix  the key prefix before the name, ending in a slash, or empty
    folder  the folder of its folder, ending in a slash, or empty for that of the image
    """

    name: str
    digest: str | None = None
    bucket: str | None = None
    prefix: str = ""
    folder: str = ""

    PATTERN: ClassVar = re.compile(
        r"(?:s3://(?P<bucket>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])/(?P<prefix>(?:[\w.!*'()-]+/)*)|(?P<folder>(?!\w+:)[^@,]*/))?"
        rf"(?P<name>{NAME})(?:{DIGEST_MARK}(?P<digest>{SHA256}))?"
    )

    @classmethod
    def parse(cls, text: str) -> "Reference":
        """Parse a reference.

        Raises:
            SettingsError: the text is not a reference.
        """
        found = cls.PATTERN.fullmatch(text)
        if not found:
            raise SettingsError(
                f"MODELS names '{text}', which is not a reference: write NAME or NAME@sha256:<64 hex digits>, or "
                "either after s3://bucket/prefix/ or a folder's path and /"
            )
        return cls(found["name"], found["digest"], found["bucket"], found["prefix"] or "", found["folder"] or "")

    def __str__(self) -> str:
        where = f"s3://{self.bucket}/{self.prefix}" if self.bucket else self.folder
        return f"{where}{self.name}" + (f"{DIGEST_MARK}{self.digest}" if self.digest else "")


@dataclass(frozen=True, slots=True)
class File:
    """A file's size in bytes and the SHA-256 of its content in hex."""

    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """The description of a model. Its own SHA-256 is the model's digest.

    id           the name in responses
    aliases      other names for it in requests
    dimensions   components of a vector
    max_tokens   the longest sequence it accepts, in tokens, special tokens included
    pooling      'mean' or 'cls'; 'none' if the graph's own output is the vector
    normalize    whether vectors are scaled to length one
    prompts      text prefix by prompt name ('query', 'passage'), as in the model's training
    files        name -> File
    provenance   where the weights come from and what built the files
    quality      accuracy against full precision, by data set, and what the output types lose
    graph        'recipe', or 'external' for one that its publisher exported, which runs one text at a time
    calibration  the scale of int8 in the output, if the model has one (handler/embedding/quantization.py)
    """

    id: str
    aliases: tuple[str, ...]
    dimensions: int
    max_tokens: int
    pooling: Pooling
    normalize: bool
    prompts: Mapping[str, str]
    files: Mapping[str, File]
    provenance: Mapping[str, Any]
    quality: Mapping[str, Any]
    graph: Graph = "recipe"
    calibration: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def parse(cls, content: bytes) -> "Manifest":
        """Parse a manifest.json.

        Raises:
            ValueError: it is not JSON, or of another schema, or a field is missing, of the wrong type or out of range.
        """
        try:
            fields = json.loads(content)
        except RecursionError as error:
            raise ValueError("it is nested too deeply") from error
        if not isinstance(fields, dict):
            raise ValueError("it is not a JSON object")  # noqa: TRY004 - one type of error for all defects
        schema = fields.pop("schema", None)
        if schema != SCHEMA_VERSION:
            raise ValueError(f"its schema is {schema!r} and this version reads {SCHEMA_VERSION}")
        fields = DEFAULTS | fields
        for name, kind in FIELD_TYPES.items():
            if type(fields.get(name)) is not kind:
                raise ValueError(f"its field '{name}' is missing or not a {kind.__name__}")
        for name, known in (("pooling", get_args(Pooling)), ("graph", get_args(Graph))):
            if fields.get(name, known[0]) not in known:
                raise ValueError(f"its {name} is '{fields[name]}' and this version knows {', '.join(known)}")
        try:
            files = {name: File(**file) for name, file in fields.pop("files").items()}
            _ = files[MODEL_FILE], files[TOKENIZER_FILE]
            manifest = cls(aliases=tuple(fields.pop("aliases")), files=files, **fields)
        except (KeyError, TypeError) as error:
            raise ValueError(f"its fields are not those of schema {SCHEMA_VERSION}: {error}") from error
        check_ranges(manifest)
        return manifest


def check_ranges(manifest: Manifest) -> None:
    """Check the values that the fields' types do not restrict.

    Raises:
        ValueError: a field is out of range; the message names it.
    """
    names, prompts, files = manifest.aliases, manifest.prompts.values(), manifest.files
    rules = {
        "id": (_matches(NAME, manifest.id), "a name"),
        "aliases": (all(_matches(ALIAS, name) for name in names), f"names of at most {MAX_NAME} characters"),
        "dimensions": (1 <= manifest.dimensions <= MAX_DIMENSIONS, f"from 1 to {MAX_DIMENSIONS}"),
        "max_tokens": (MIN_TOKENS <= manifest.max_tokens <= MAX_TOKENS, f"from {MIN_TOKENS} to {MAX_TOKENS}"),
        "prompts": (
            all(isinstance(prompt, str) and len(prompt) <= MAX_PROMPT for prompt in prompts),
            f"strings of at most {MAX_PROMPT} characters",
        ),
        "files": (
            all(_matches(NAME, name) and _is_valid(file) for name, file in files.items()),
            f"names with a size from 1 to {MAX_FILE_BYTES} and a SHA-256 in hex",
        ),
        "calibration": (
            all(type(scale) in {int, float} and 0 < scale <= MAX_SCALE for scale in manifest.calibration.values()),
            f"numbers above 0 and up to {MAX_SCALE}",
        ),
    }
    for name, (fits, rule) in rules.items():
        if not fits:
            raise ValueError(f"its field '{name}' is not {rule}")
    if max(len(names), len(prompts), len(files)) > MAX_ENTRIES:
        raise ValueError(f"it has more than {MAX_ENTRIES} aliases, prompts or files")


def _matches(pattern: str, value: object) -> bool:
    return isinstance(value, str) and len(value) <= MAX_NAME and re.fullmatch(pattern, value) is not None


def _is_valid(file: File) -> bool:
    return type(file.size) is int and 0 < file.size <= MAX_FILE_BYTES and _matches(SHA256, file.sha256)
