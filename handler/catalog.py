"""The models that are served, by every name they answer to."""

from collections.abc import Mapping
from dataclasses import dataclass

from handler.artifacts import load
from handler.embedder import Embedder
from handler.errors import ModelNotFoundError
from handler.settings import Settings


@dataclass(frozen=True, slots=True)
class Catalog:
    """Embedders by id and by alias; the first is the default, which answers to the configured aliases too."""

    default: Embedder
    names: Mapping[str, Embedder]

    @classmethod
    def load(cls, settings: Settings) -> "Catalog":
        """Load every configured model.

        Raises:
            ArtifactError: a model's files cannot be served.
        """
        embedders = [Embedder(load(reference, settings.artifacts), settings) for reference in settings.models]
        return cls.of(embedders, settings.aliases)

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
