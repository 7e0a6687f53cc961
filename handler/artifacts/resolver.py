"""A model's files, from the image or a bucket: what the manifest says they are, and nothing else is ever loaded."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from handler.artifacts.manifest import MANIFEST_FILE, MODEL_FILE, TOKENIZER_FILE, File, Manifest, Reference, sha256_of
from handler.artifacts.s3 import Store
from handler.errors import ArtifactError
from handler.settings import Settings

RESTORE = "restore it with git checkout, or rebuild it with make model"
PUBLISH = "publish the model again with make publish"


@dataclass(frozen=True, slots=True)
class Sealed:
    """A manifest that was read and checked.

    digest    its SHA-256, which is the model's
    created   when it was read, in seconds since 1970
    """

    reference: Reference
    manifest: Manifest
    digest: str
    created: int


@dataclass(frozen=True, slots=True)
class Artifacts:
    """A model's files in memory: the very bytes whose digests were checked."""

    manifest: Manifest
    digest: str
    model: bytes
    tokenizer: bytes


@dataclass(frozen=True, slots=True)
class Library:
    """Where models are had from.

    bundled  the folder of the image that holds models
    store    published models
    """

    bundled: Path
    store: Store

    def bundles(self, reference: Reference) -> bool:
        """Say whether the image has what is meant, so that no bucket need be asked."""
        path = self.bundled / reference.name / MANIFEST_FILE
        return path.is_file() and (not reference.bucket or reference.digest == sha256_of(path.read_bytes()))

    def open(self, reference: Reference) -> Sealed:
        """Read a model's manifest: the image's, if it is the one that is meant, and otherwise the bucket's.

        Only an unpinned reference to a bucket has to ask the bucket: what is pinned and bundled needs no network.

        Raises:
            ArtifactError: there is none, or it is not the pinned one, or it is damaged.
        """
        path = self.bundled / reference.name / MANIFEST_FILE
        if self.bundles(reference):
            return _seal(reference, path.read_bytes(), remedy=RESTORE)
        if reference.bucket:
            return _seal(reference, self.store.read_manifest(reference), remedy=PUBLISH)
        raise ArtifactError(
            f"model '{reference}': there is no {path}; name a model of the image, or one of a bucket as "
            "s3://bucket/prefix/name"
        )

    def load(self, sealed: Sealed) -> Artifacts:
        """Read a model's files: the image's, where it has them, and otherwise the bucket's.

        Raises:
            ArtifactError: a file is missing, damaged or unreadable.
        """
        model, tokenizer = (self._read(sealed, name) for name in (MODEL_FILE, TOKENIZER_FILE))
        return Artifacts(sealed.manifest, sealed.digest, model, tokenizer)

    def _read(self, sealed: Sealed, name: str) -> bytes:
        reference, file = sealed.reference, sealed.manifest.files[name]
        if not reference.bucket:
            return read_checked(self.bundled / reference.name / name, file)
        copy = next(self._bundled_copies(file), None)
        return read_checked(copy, file) if copy else self.store.read_blob(reference, file)

    def _bundled_copies(self, file: File) -> Iterator[Path]:
        """Yield the image's files that are the same as a bucket's."""
        for path in self.bundled.glob(f"*/{MANIFEST_FILE}"):
            manifest = Manifest.parse(path.read_bytes())
            yield from (path.parent / name for name, bundled in manifest.files.items() if bundled == file)


def load(text: str, settings: Settings) -> Artifacts:
    """Load a model by its reference, as MODELS has it.

    Raises:
        ArtifactError: a file is missing, damaged or unreadable, or the manifest is not the pinned one.
        SettingsError: it is no reference.
    """
    library = Library(settings.artifacts, Store())
    return library.load(library.open(Reference.parse(text)))


def _seal(reference: Reference, content: bytes, remedy: str) -> Sealed:
    digest = sha256_of(content)
    if reference.digest and digest != reference.digest:
        raise ArtifactError(
            f"model '{reference}': its manifest has the SHA-256 {digest}, not the pinned one; deploy the pinned model, "
            "or pin this one"
        )
    try:
        manifest = Manifest.parse(content)
    except ValueError as error:
        raise ArtifactError(f"model '{reference}': {MANIFEST_FILE} is not a manifest: {error}; {remedy}") from error
    if manifest.id != reference.name:
        raise ArtifactError(f"model '{reference}': its manifest is that of '{manifest.id}'; {remedy}")
    return Sealed(reference, manifest, digest, created=int(time.time()))


def read_checked(path: Path, expected: File) -> bytes:
    """Read a file of the image.

    Raises:
        ArtifactError: it cannot be read, or is not what the manifest says.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ArtifactError(f"{path}: {error.strerror}; {RESTORE}") from error
    if len(content) != expected.size:
        raise ArtifactError(f"{path}: {len(content)} bytes, and its manifest says {expected.size}; {RESTORE}")
    if sha256_of(content) != expected.sha256:
        raise ArtifactError(f"{path}: damaged, its SHA-256 is not the manifest's; {RESTORE}")
    return content
