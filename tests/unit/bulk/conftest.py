"""The tiny model as a folder, for what loads its model by a reference."""

from pathlib import Path

import pytest

from tests import tiny


@pytest.fixture
def tiny_model(tmp_path: Path) -> str:
    """Save the tiny model to a folder; return its reference."""
    return str(tiny.save_model(tmp_path / "models"))
