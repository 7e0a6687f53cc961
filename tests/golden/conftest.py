"""The bundled model and its reference vectors."""

from collections.abc import Callable

import pytest

from handler.artifacts.resolver import Artifacts, load
from handler.embedding.embedder import Embedder
from handler.settings import Settings
from model_artifacts.recipe.golden import Golden

SETTINGS = Settings()


@pytest.fixture(scope="session")
def artifacts() -> Artifacts:
    return load(SETTINGS.models[0], SETTINGS)


@pytest.fixture(scope="session")
def embedder(artifacts: Artifacts) -> Callable[[int], Embedder]:
    return lambda workers: Embedder(artifacts, Settings(workers=workers, token_input="native"))


@pytest.fixture(scope="session")
def golden() -> Golden:
    return Golden.read(SETTINGS.artifacts / SETTINGS.models[0] / "golden.json")
