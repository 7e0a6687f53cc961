"""A storage for files and batches."""

from pathlib import Path

import pytest

from handler.storage.folder import Folder


@pytest.fixture
def storage(tmp_path: Path) -> Folder:
    return Folder(tmp_path)
