"""The served models, under every name they have, each loaded when first requested."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, as_completed, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from threading import Lock

from handler.artifacts.manifest import DIGEST_MARK, Reference
from handler.artifacts.resolver import ArtifactResolver, VerifiedManifest
from handler.artifacts.s3 import S3Store
from handler.embedding.deadline import NO_DEADLINE, Deadline
from handler.embedding.embedder import Embedder
from handler.embedding.prompts import MARK, find_prompt
from handler.errors import (
    ArtifactError,
    ModelMismatchError,
    ModelNotFoundError,
    ServiceError,
    SettingsError,
    UnavailableError,
)
from handler.models import memory
from handler.models.loader import BackgroundLoader
from handler.models.parallel import parallel_session
from handler.settings import Settings

# An initialization may take 10 seconds on Lambda, and a request 30 seconds at API Gateway. A request waits no
# longer than this for everything that it loads, and no longer than its deadline.
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

        A default model from the image starts to load here. One from S3 does not yet: importing boto3 would compete with
        other imports for the GIL, and both would take longer (benchmarks/README.md).

        Raises:
            SettingsError: a reference is malformed, or two have one name.
        """
        self._settings = settings
        self._report = report
        self._resolver = ArtifactResolver(settings.artifacts, S3Store())
        self._memory: dict[ServedModel, int] = {}
        self._memory_lock = Lock()
        references = [Reference.parse(text) for text in settings.models]
        _check_names([reference.name for reference in references])
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
            loaders = BackgroundLoader.completed(verified), BackgroundLoader.completed(embedder)
            catalog._served.append(ServedModel(manifest.id, *loaders))
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

    def manifests(self, deadline: Deadline = NO_DEADLINE) -> Mapping[str, VerifiedManifest]:
        """Return every name with its manifest, of the models whose manifest is available now."""
        wait(self._read_manifests(), deadline.within(LOAD_TIMEOUT_SECONDS).remaining)
        return {name: served.manifest.result for name, served in self.names().items() if served.manifest.result}

    def find(self, model: str, deadline: Deadline = NO_DEADLINE) -> ServedModel:
        """Find a model by ID or alias.

        `:<prompt>` may follow either, to ask for a prompt, and then `@sha256:<digest>`, to demand exactly one manifest.

        Raises:
            ModelNotFoundError: no model has that name.
            ModelMismatchError: the model of that name has another digest.
            UnavailableError: the manifest of a model that might have it is unavailable now.
        """
        name, pinned, digest = model.partition(DIGEST_MARK)
        served = self._find_by_name(name, deadline)
        if pinned and (actual := served.manifest.get(deadline.remaining).digest) != digest:
            raise ModelMismatchError(model, actual)
        return served

    def _find_by_name(self, name: str, deadline: Deadline) -> ServedModel:
        """Find a model; a name that is not known yet waits for the manifests that might hold it."""
        if found := self._look_up(name):
            return found
        with suppress(TimeoutError):
            for _ in as_completed(self._read_manifests(), deadline.within(LOAD_TIMEOUT_SECONDS).remaining):
                if found := self._look_up(name):
                    return found
        for served in self._served:
            served.manifest.get(timeout=0)
        if found := self._look_up(name):
            return found
        raise ModelNotFoundError(name, tuple(self.names()))

    def _look_up(self, name: str) -> ServedModel | None:
        if served := (names := self.names()).get(name):
            return served
        model, _, prompt = name.rpartition(MARK)
        read = names[model].manifest.result if model in names else None
        return names[model] if read and find_prompt(prompt, read.manifest.prompts) is not None else None

    def prompt(self, model: str) -> str:
        """Return the prompt that follows the name in a model that was found; empty if none does."""
        name, _, _ = model.partition(DIGEST_MARK)
        return name.rpartition(MARK)[2] if MARK in name and name not in self.names() else ""

    def manifest(self, model: str, deadline: Deadline = NO_DEADLINE) -> VerifiedManifest:
        """Find a model and read its manifest.

        Raises:
            ModelNotFoundError, ModelMismatchError, UnavailableError: as `find`.
        """
        deadline = deadline.within(LOAD_TIMEOUT_SECONDS)
        return self.find(model, deadline).manifest.get(deadline.remaining)

    def get(self, model: str, deadline: Deadline = NO_DEADLINE) -> Embedder:
        """Find a model and load it.

        Raises:
            ModelNotFoundError, ModelMismatchError: as `find`.
            UnavailableError: the model is unavailable now.
        """
        deadline = deadline.within(LOAD_TIMEOUT_SECONDS)
        served = self.find(model, deadline)
        served.last_used = time.monotonic()
        return served.embedder.get(deadline.remaining)

    def _read_manifests(self) -> "list[Future[VerifiedManifest]]":
        return [served.manifest.start() for served in self._served]

    def _serve(self, reference: Reference) -> ServedModel:
        manifest = BackgroundLoader(partial(self._resolver.open, reference), self._report)
        served = ServedModel(reference.name, manifest, BackgroundLoader(lambda: self._load(served), self._report))
        return served

    def _load(self, served: ServedModel) -> Embedder:
        started = time.perf_counter()
        verified = served.manifest.get(LOAD_TIMEOUT_SECONDS)
        with self._reserve_memory(served, verified):
            artifacts = self._resolver.load(verified)
            read = time.perf_counter()
            parallel = parallel_session(self._resolver, verified, self._settings)
            embedder = Embedder(artifacts, self._settings, parallel)
            built = time.perf_counter()
            embedder.warm_up()
        ran = time.perf_counter()
        embedder.load_timings = {"artifacts": read - started, "session": built - read, "first-run": ran - built}
        return embedder

    @contextmanager
    def _reserve_memory(self, served: ServedModel, verified: VerifiedManifest) -> Iterator[None]:
        """Reserve a model's memory before its files are read, so that no other load claims it; a failed load frees it.

        Raises:
            ArtifactError: the model does not fit.
            UnavailableError: it does not fit together with a model that is loading now.
        """
        with self._memory_lock:
            self._evict(verified)
            self._memory[served] = memory.loading(verified.manifest) + self._settings.vector_cache
        try:
            yield
        except BaseException:
            with self._memory_lock:
                del self._memory[served]
            raise
        with self._memory_lock:
            self._memory[served] = memory.serving(verified.manifest) + self._settings.vector_cache

    def _evict(self, verified: VerifiedManifest) -> None:
        """Evict the least recently used models until another fits, never the default, and none if that is not enough.

        Running requests keep theirs until they end.

        Raises:
            ArtifactError, UnavailableError: as `_reserve_memory`.
        """
        limit, size = self._settings.model_memory, memory.loading(verified.manifest) + self._settings.vector_cache
        if limit is None:
            return
        free = limit - sum(self._memory.values())
        loaded = [each for each in self._memory if each.embedder.result]
        evictable = sorted((each for each in loaded if each is not self._served[0]), key=lambda each: each.last_used)
        evicted = []
        while free < size and evictable:
            evicted.append(evictable.pop(0))
            free += self._memory[evicted[-1]]
        if free < size and len(loaded) < len(self._memory):
            raise UnavailableError("another model is loading and has reserved the memory", retry_after=1)
        if free < size:
            raise ArtifactError(
                f"model '{verified.reference}': loading it takes {size >> 20} MB, and models may take {limit >> 20} MB "
                "together with the default; raise the function's memory (the template's parameter MemorySize)"
            )
        for each in evicted:
            del self._memory[each]
            each.embedder.invalidate()


def _check_names(names: list[str]) -> None:
    """Raise a SettingsError if two models have one name, since a request could reach only one of them."""
    for name in names:
        if names.count(name) > 1:
            raise SettingsError(f"MODELS names '{name}' {names.count(name)} times: name every model once")
