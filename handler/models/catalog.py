"""The served models, under every name they have, each loaded when first requested."""

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from threading import Lock

from handler.artifacts.manifest import MODEL_FILE, Reference
from handler.artifacts.resolver import ArtifactResolver, VerifiedManifest
from handler.artifacts.s3 import S3Store
from handler.embedding.embedder import Embedder
from handler.errors import ArtifactError, ModelNotFoundError, ServiceError, UnavailableError
from handler.models.loader import BackgroundLoader
from handler.settings import Settings

# An initialization may take 10 seconds on Lambda, and a request 30 seconds at API Gateway.
LOAD_TIMEOUT_SECONDS = 7.0


@dataclass(slots=True, eq=False)
class ServedModel:
    """One configured model: its manifest is read first, its files when a request needs them.

    last_used   when a request last named it, on the monotonic clock
    """

    name: str
    manifest: BackgroundLoader[VerifiedManifest]
    embedder: BackgroundLoader[Embedder]
    last_used: float = 0.0


class Catalog:
    """The served models. The first is the default: it is loaded first and also has the configured aliases."""

    def __init__(self, settings: Settings, report: Callable[[ServiceError], None]) -> None:
        """Take the configured models; `report` is called for every failure, now and later.

        A default model from the image starts to load here. One from S3 does not yet: boto3's import and others would
        compete for Python's lock, and both be late (benchmarks/README.md).

        Raises:
            SettingsError: a reference is malformed.
        """
        self._settings = settings
        self._report = report
        self._resolver = ArtifactResolver(settings.artifacts, S3Store())
        self._load_lock = Lock()
        references = [Reference.parse(text) for text in settings.models]
        self._served = [self._serve(reference) for reference in references]
        if references and self._resolver.is_bundled(references[0]):
            self._served[0].embedder.start()

    @classmethod
    def of(cls, embedders: Iterable[Embedder], settings: Settings) -> "Catalog":
        """Return a catalog of models that are already loaded."""
        catalog = cls(replace(settings, models=()), lambda _: None)
        for embedder in embedders:
            manifest = embedder.manifest
            verified = VerifiedManifest(Reference(manifest.id), manifest, embedder.digest, created=int(time.time()))
            catalog._served.append(
                ServedModel(manifest.id, BackgroundLoader.completed(verified), BackgroundLoader.completed(embedder))
            )
        return catalog

    def start(self) -> None:
        """Start to load the default model, and to read the manifests of the others."""
        for served in self._served[1:]:
            served.manifest.start()
        self._served[0].embedder.start()

    @property
    def default(self) -> Embedder:
        """The first model, loaded.

        Raises:
            UnavailableError: it is unavailable now.
        """
        return self._served[0].embedder.get(LOAD_TIMEOUT_SECONDS)

    def names(self) -> Mapping[str, ServedModel]:
        """Return every name with its model. IDs take precedence over aliases, earlier models over later ones."""
        names = {served.name: served for served in reversed(self._served)}
        for served in self._served:
            own = served.manifest.result.manifest.aliases if served.manifest.result else ()
            for alias in (*own, *(self._settings.aliases if served is self._served[0] else ())):
                names.setdefault(alias, served)
        return names

    def manifests(self) -> Mapping[str, VerifiedManifest]:
        """Return every name with its manifest, of the models whose manifest is available now."""
        for served in self._served:
            with suppress(UnavailableError):
                served.manifest.get(LOAD_TIMEOUT_SECONDS)
        return {name: served.manifest.result for name, served in self.names().items() if served.manifest.result}

    def find(self, name: str) -> ServedModel:
        """Find a model by ID or alias.

        Raises:
            ModelNotFoundError: no model has that name.
            UnavailableError: the manifest of a model that might have it is unavailable now.
        """
        served = self.names().get(name)
        if not served:
            for each in self._served:
                each.manifest.get(LOAD_TIMEOUT_SECONDS)
            served = self.names().get(name)
        if not served:
            raise ModelNotFoundError(name, tuple(self.names()))
        return served

    def manifest(self, name: str) -> VerifiedManifest:
        """Find a model and read its manifest.

        Raises:
            ModelNotFoundError: no model has that name.
            UnavailableError: the manifest is unavailable now.
        """
        return self.find(name).manifest.get(LOAD_TIMEOUT_SECONDS)

    def get(self, name: str) -> Embedder:
        """Find a model and load it.

        Raises:
            ModelNotFoundError: no model has that name.
            UnavailableError: the model is unavailable now.
        """
        served = self.find(name)
        served.last_used = time.monotonic()
        return served.embedder.get(LOAD_TIMEOUT_SECONDS)

    def _serve(self, reference: Reference) -> ServedModel:
        manifest = BackgroundLoader(partial(self._resolver.open, reference), self._report)
        served = ServedModel(reference.name, manifest, BackgroundLoader(lambda: self._load(served), self._report))
        return served

    def _load(self, served: ServedModel) -> Embedder:
        started = time.perf_counter()
        verified = served.manifest.get(LOAD_TIMEOUT_SECONDS)
        with self._load_lock:  # one load at a time, so that two cannot claim the same memory
            self._evict(served, verified)
            artifacts = self._resolver.load(verified)
            read = time.perf_counter()
            embedder = Embedder(artifacts, self._settings)
        built = time.perf_counter()
        embedder.embed(["warm"])  # the first request then finds a warm session
        ran = time.perf_counter()
        embedder.load_timings = {"artifacts": read - started, "session": built - read, "first-run": ran - built}
        return embedder

    def _evict(self, served: ServedModel, verified: VerifiedManifest) -> None:
        """Evict the least recently used models, but never the default; running requests keep theirs until they end.

        Raises:
            ArtifactError: the model does not fit even then.
        """
        limit, size = self._settings.model_memory, _size(verified)
        loaded = [each for each in self._served if each.embedder.result and each is not served]
        evictable = sorted((each for each in loaded if each is not self._served[0]), key=lambda each: each.last_used)
        while limit is not None and size + sum(_size(each.manifest.result) for each in loaded) > limit:
            if not evictable:
                raise ArtifactError(
                    f"model '{verified.reference}': its {size:,} bytes and those of the default exceed the {limit:,} "
                    "that models may take; raise the function's memory (the template's parameter MemorySize)"
                )
            evicted = evictable.pop(0)
            loaded.remove(evicted)
            evicted.embedder.invalidate()


def _size(verified: VerifiedManifest | None) -> int:
    return verified.manifest.files[MODEL_FILE].size if verified else 0
