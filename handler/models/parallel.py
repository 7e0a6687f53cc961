"""A second session of a model, whose runs use every core: for a text that comes alone."""

from collections.abc import Callable

from handler.artifacts.manifest import MODEL_FILE
from handler.artifacts.resolver import ArtifactResolver, VerifiedManifest
from handler.embedding.inference import InferenceSession
from handler.errors import ServiceError
from handler.models import memory
from handler.models.loader import BackgroundLoader
from handler.settings import Settings


def parallel_session(
    resolver: ArtifactResolver,
    verified: VerifiedManifest,
    settings: Settings,
    report: Callable[[ServiceError], None],
) -> Callable[[], InferenceSession | None]:
    """Return a function that returns the session, or None until it is loaded, which its first call begins.

    The model's file is read and verified again, so nothing of it is kept until then. There is a session only where a
    service has one model, so that it takes no memory from another; a graph that is not the recipe's has none, because
    the bits of its vectors may depend on the number of threads.
    """
    manifest, limit = verified.manifest, settings.model_memory
    needed = memory.serving(manifest) + settings.vector_cache + memory.parallel(manifest)
    fits = len(settings.models) == 1 and (limit is None or needed <= limit)
    if settings.workers == 1 or manifest.graph != "recipe" or not fits:
        return lambda: None

    def load() -> InferenceSession:
        return InferenceSession(resolver.read(verified, MODEL_FILE), settings.workers)

    loader = BackgroundLoader(load, report)

    def session() -> InferenceSession | None:
        loader.start()
        return loader.result

    return session
