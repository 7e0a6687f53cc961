"""A second session of a model, whose runs use every core: for a text that comes alone."""

import logging
from collections.abc import Callable
from itertools import count

from handler.artifacts.manifest import MODEL_FILE
from handler.artifacts.resolver import ArtifactResolver, VerifiedManifest
from handler.embedding.inference import InferenceSession
from handler.errors import ServiceError
from handler.models import memory
from handler.models.loader import BackgroundLoader
from handler.settings import Settings

logger = logging.getLogger("handler")


def parallel_session(
    resolver: ArtifactResolver, verified: VerifiedManifest, settings: Settings
) -> Callable[[], InferenceSession | None]:
    """Return a function that returns the session, or None while there is none; its second call starts the load.

    The first text that comes alone may be the only one. The file is read and verified again, so that it is not kept in
    memory until then. Only the only model of a service has a second session, which would take memory from others, and
    only a graph of the recipe: the bits of another may depend on the number of threads.
    """
    manifest, limit = verified.manifest, settings.model_memory
    needed = memory.serving(manifest) + settings.vector_cache + memory.parallel(manifest)
    possible = settings.threads > 1 and len(settings.models) == 1 and manifest.graph == "recipe"
    if not possible or (limit is not None and needed > limit):
        return lambda: None

    def load() -> InferenceSession:
        return InferenceSession(resolver.read(verified, MODEL_FILE), settings.threads)

    loader, earlier = BackgroundLoader(load, _log), count()

    def session() -> InferenceSession | None:
        if next(earlier):
            loader.start()
        return loader.result

    return session


def _log(error: ServiceError) -> None:
    logger.warning("texts that come alone use one core, because the second session cannot be loaded: %s", error)
