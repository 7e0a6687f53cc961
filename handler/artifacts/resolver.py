"""A model's files, from the image or a bucket, each verified against the manifest before it is used."""

import mmap
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from handler.artifacts.manifest import (
    MANIFEST_FILE,
    MODEL_FILE,
    TOKENIZER_FILE,
    Content,
    File,
    Manifest,
    Reference,
    sha256_of,
)
from handler.artifacts.s3 import S3Store
from handler.errors import ArtifactError
from handler.settings import Settings

RESTORE = "restore it with git checkout, or rebuild it with make model"
PUBLISH = "publish the model again with make publish"


class VerifiedManifest(NamedTuple):  # a dataclass takes half a millisecond more of a cold start
    """A manifest whose digest and content have been checked.

    digest    its SHA-256, which is the model's digest
    created   when it was read, in seconds since 1970
    """

    reference: Reference
    manifest: Manifest
    digest: str
    created: int


@dataclass(frozen=True, slots=True)
class Artifacts:
    """A model's files: the bytes whose digests were checked, a large file of the image mapped and not copied."""

    manifest: Manifest
    digest: str
    model: Content
    tokenizer: bytes


class ArtifactResolver(NamedTuple):  # as above
    """Finds a model's files in the image or in S3.

    bundled  the folder of the image that holds models
    store    published models
    """

    bundled: Path
    store: S3Store

    def is_bundled(self, reference: Reference) -> bool:
        """Return whether the image, or the reference's folder, holds the model, so that no bucket is needed."""
        path = self._folder(reference) / MANIFEST_FILE
        return path.is_file() and (not reference.bucket or reference.digest == sha256_of(path.read_bytes()))

    def open(self, reference: Reference) -> VerifiedManifest:
        """Read a model's manifest: the image's, if it is the referenced one, and otherwise the bucket's.

        Only an unpinned reference to a bucket needs the bucket: a model that is pinned and bundled needs no network.

        Raises:
            ArtifactError: it is missing, damaged, or not the pinned one.
        """
        path = self._folder(reference) / MANIFEST_FILE
        if self.is_bundled(reference):
            return _verify(reference, path.read_bytes(), remedy=RESTORE)
        if reference.bucket:
            return _verify(reference, self.store.read_manifest(reference), remedy=PUBLISH)
        raise ArtifactError(
            f"model '{reference}': {path} does not exist; name a model of the image, or one elsewhere as "
            "s3://bucket/prefix/name or folder/name"
        )

    def load(self, verified: VerifiedManifest) -> Artifacts:
        """Read a model's files: the image's, where it holds them, and otherwise the bucket's.

        Raises:
            ArtifactError: a file is missing, damaged or unreadable.
        """
        model, tokenizer = (self.read(verified, name) for name in (MODEL_FILE, TOKENIZER_FILE))
        return Artifacts(verified.manifest, verified.digest, model, tokenizer[:])

    def read(self, verified: VerifiedManifest, name: str) -> Content:
        """Read one of a model's files.

        Raises:
            ArtifactError: as `load`.
        """
        reference, file = verified.reference, verified.manifest.files[name]
        if not reference.bucket:
            return map_checked(self._folder(reference) / name, file)
        copy = next(self._bundled_copies(file), None)
        return map_checked(copy, file) if copy else self.store.read_blob(reference, file)

    def _folder(self, reference: Reference) -> Path:
        return (Path(reference.folder) if reference.folder else self.bundled) / reference.name

    def _bundled_copies(self, file: File) -> Iterator[Path]:
        """Yield the image's files with the same size and SHA-256."""
        for path in self.bundled.glob(f"*/{MANIFEST_FILE}"):
            with suppress(ValueError):  # a damaged manifest is reported where its own model is loaded
                files = Manifest.parse(path.read_bytes()).files
                yield from (path.parent / name for name, bundled in files.items() if bundled == file)


def load(text: str, settings: Settings) -> Artifacts:
    """Load a model by a reference, as in MODELS.

    Raises:
        ArtifactError: a file is missing, damaged or unreadable, or the manifest is not the pinned one.
        SettingsError: the text is not a reference.
    """
    resolver = ArtifactResolver(settings.artifacts, S3Store())
    return resolver.load(resolver.open(Reference.parse(text)))


def _verify(reference: Reference, content: bytes, remedy: str) -> VerifiedManifest:
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
        raise ArtifactError(f"model '{reference}': its manifest describes '{manifest.id}'; {remedy}")
    return VerifiedManifest(reference, manifest, digest, created=int(time.time()))


def map_checked(path: Path, expected: File) -> mmap.mmap:
    """Map a file of the image into memory: to read 23 MB would take 10 ms of a cold start, and as much memory.

    Raises:
        ArtifactError: it cannot be read, or does not match its manifest.
    """
    try:
        size = path.stat().st_size
        if size != expected.size:
            raise ArtifactError(f"{path}: {size} bytes, and its manifest says {expected.size}; {RESTORE}")
        with path.open("rb") as file:
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise ArtifactError(f"{path}: {error.strerror}; {RESTORE}") from error
    if sha256_of(content) != expected.sha256:
        raise ArtifactError(f"{path}: damaged, its SHA-256 is not the manifest's; {RESTORE}")
    return content
