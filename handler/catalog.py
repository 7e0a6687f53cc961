"""The models that are served, by every name they answer to."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from handler.artifacts import load
from handler.embedder import Embedder
from handler.errors import ModelNotFoundError
from handler.settings import Settings


@dataclass(frozen=True, slots=True)
class Catalog:
    """Embedders by id and by alias; the first is the default, which answers to the configured aliases too.

    timings   seconds by phase of loading
    """

    default: Embedder
    names: Mapping[str, Embedder]
    timings: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def load(cls, settings: Settings) -> "Catalog":
        """Load every configured model, and run each once, so that the first request finds it warm.

        Raises:
            ArtifactError: a model's files cannot be served.
        """
        started = time.perf_counter()
        artifacts = [load(reference, settings.artifacts) for reference in settings.models]
        read = time.perf_counter()
        embedders = [Embedder(each, settings) for each in artifacts]
        built = time.perf_counter()
        for embedder in embedders:
            embedder.embed(["warm"])
        ran = time.perf_counter()
        timings = {"Artifacts": read - started, "Session": built - read, "FirstRun": ran - built}
        return replace(cls.of(embedders, settings.aliases), timings=timings)

    @classmethod
    def of(cls, embedders: list[Embedder], aliases: tuple[str, ...] = ()) -> "Catalog":
        """Name the embedders: their own ids win over aliases, earlier models over later ones."""
        names = {embedder.manifest.id: embedder for embedder in reversed(embedders)}
        default = embedders[0]
        for embedder in embedders:
            for alias in (*embedder.manifest.aliases, *(aliases if embedder is default else ())):
                names.setdefault(alias, embedder)
        return cls(default, names)

    def get(self, name: str) -> Embedder:
        """Find a model by id or alias.

        Raises:
            ModelNotFoundError: no model answers to that name.
        """
        try:
            return self.names[name]
        except KeyError:
            raise ModelNotFoundError(name, tuple(self.names)) from None
