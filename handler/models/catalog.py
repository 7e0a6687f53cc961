"""The models that are served, by every name they answer to, each loaded when it is first needed."""

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from threading import Lock

from handler.artifacts.manifest import MODEL_FILE, Reference
from handler.artifacts.resolver import Library, Sealed
from handler.artifacts.s3 import Store
from handler.embedding.embedder import Embedder
from handler.errors import ArtifactError, ModelNotFoundError, ServiceError, UnavailableError
from handler.models.loader import Attempts
from handler.settings import Settings

# An initialisation may take 10 seconds on Lambda, and a request 30 at its gateway.
PATIENCE_SECONDS = 7.0


@dataclass(slots=True, eq=False)
class Served:
    """One configured model: its manifest is read first, its files when a request needs them.

    used   when a request last asked for it, on the monotonic clock
    """

    name: str
    manifest: Attempts[Sealed]
    embedder: Attempts[Embedder]
    used: float = 0.0


class Catalog:
    """The served models; the first is the default, which is loaded first and answers to the configured aliases too."""

    def __init__(self, settings: Settings, report: Callable[[ServiceError], None]) -> None:
        """Take the configured models; `report` hears of every failure, now and later.

        A default model that the image has begins to load. One from S3 does not yet: boto3's import and others would
        take turns, and both be late (benchmarks/README.md).

        Raises:
            SettingsError: a reference cannot be read.
        """
        self._settings = settings
        self._report = report
        self._library = Library(settings.artifacts, Store())
        self._room = Lock()
        references = [Reference.parse(text) for text in settings.models]
        self._served = [self._serve(reference) for reference in references]
        if references and self._library.bundles(references[0]):
            self._served[0].embedder.start()

    @classmethod
    def of(cls, embedders: Iterable[Embedder], settings: Settings) -> "Catalog":
        """Serve models that are loaded already."""
        catalog = cls(replace(settings, models=()), lambda _: None)
        for embedder in embedders:
            manifest = embedder.manifest
            sealed = Sealed(Reference(manifest.id), manifest, embedder.digest, created=int(time.time()))
            catalog._served.append(Served(manifest.id, Attempts.done_with(sealed), Attempts.done_with(embedder)))
        return catalog

    def start(self) -> None:
        """Begin to load the default model, and to read the manifests of the others."""
        for served in self._served[1:]:
            served.manifest.start()
        self._served[0].embedder.start()

    @property
    def default(self) -> Embedder:
        """The first model, loaded.

        Raises:
            UnavailableError: it cannot be had now.
        """
        return self._served[0].embedder.get(PATIENCE_SECONDS)

    def names(self) -> Mapping[str, Served]:
        """Return every name and its model: ids win over aliases, earlier models over later ones."""
        names = {served.name: served for served in reversed(self._served)}
        for served in self._served:
            own = served.manifest.result.manifest.aliases if served.manifest.result else ()
            for alias in (*own, *(self._settings.aliases if served is self._served[0] else ())):
                names.setdefault(alias, served)
        return names

    def opened(self) -> Mapping[str, Sealed]:
        """Return every name and its manifest, of the models whose manifest can be had now."""
        for served in self._served:
            with suppress(UnavailableError):
                served.manifest.get(PATIENCE_SECONDS)
        return {name: served.manifest.result for name, served in self.names().items() if served.manifest.result}

    def find(self, name: str) -> Served:
        """Find a model by id or alias.

        Raises:
            ModelNotFoundError: no model answers to that name.
            UnavailableError: a model that might cannot be asked now.
        """
        served = self.names().get(name)
        if not served:
            for each in self._served:
                each.manifest.get(PATIENCE_SECONDS)
            served = self.names().get(name)
        if not served:
            raise ModelNotFoundError(name, tuple(self.names()))
        return served

    def open(self, name: str) -> Sealed:
        """Find a model and read its manifest.

        Raises:
            ModelNotFoundError: no model answers to that name.
            UnavailableError: the manifest cannot be had now.
        """
        return self.find(name).manifest.get(PATIENCE_SECONDS)

    def get(self, name: str) -> Embedder:
        """Find a model and load it.

        Raises:
            ModelNotFoundError: no model answers to that name.
            UnavailableError: the model cannot be had now.
        """
        served = self.find(name)
        served.used = time.monotonic()
        return served.embedder.get(PATIENCE_SECONDS)

    def _serve(self, reference: Reference) -> Served:
        manifest = Attempts(partial(self._library.open, reference), self._report)
        served = Served(reference.name, manifest, Attempts(lambda: self._load(served), self._report))
        return served

    def _load(self, served: Served) -> Embedder:
        started = time.perf_counter()
        sealed = served.manifest.get(PATIENCE_SECONDS)
        with self._room:  # one at a time, so that none takes the room of another
            self._make_room(served, sealed)
            artifacts = self._library.load(sealed)
            read = time.perf_counter()
            embedder = Embedder(artifacts, self._settings)
        built = time.perf_counter()
        embedder.embed(["warm"])  # so that the first request finds it so
        ran = time.perf_counter()
        embedder.loading = {"artifacts": read - started, "session": built - read, "first-run": ran - built}
        return embedder

    def _make_room(self, served: Served, sealed: Sealed) -> None:
        """Unload what was used longest ago, but never the default; requests under way keep what they have.

        Raises:
            ArtifactError: there is not enough memory all the same.
        """
        limit, size = self._settings.model_memory, _size(sealed)
        loaded = [each for each in self._served if each.embedder.result and each is not served]
        spare = sorted((each for each in loaded if each is not self._served[0]), key=lambda each: each.used)
        while limit is not None and size + sum(_size(each.manifest.result) for each in loaded) > limit:
            if not spare:
                raise ArtifactError(
                    f"model '{sealed.reference}': its {size:,} bytes and those of the default exceed the {limit:,} "
                    "that models may take; raise the function's memory (the template's parameter MemorySize)"
                )
            unloaded = spare.pop(0)
            loaded.remove(unloaded)
            unloaded.embedder.forget()


def _size(sealed: Sealed | None) -> int:
    return sealed.manifest.files[MODEL_FILE].size if sealed else 0
