"""What `make release-notes` prints, and what it refuses: the release workflow relies on both."""

import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from tests.emulator import ROOT

CHANGELOG = """# Changelog

## [Unreleased]

## [1.10.0] - 2026-12-24

### Added

- new

## [1.1.0] - 2026-12-01

- old
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "1.10.0"\n')
    (tmp_path / "CHANGELOG.md").write_text(CHANGELOG)
    return tmp_path


def release_notes(project: Path, version: str) -> subprocess.CompletedProcess[str]:
    command = ["make", "--silent", "release-notes", f"VERSION={version}"]
    return subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)


def test_notes_are_the_section_of_the_version(project):
    assert release_notes(project, "1.10.0").stdout == "\n### Added\n\n- new\n\n"


@pytest.mark.parametrize("version", ["1.1.0", "1.10", "v1.10.0", "", '1.10.0"; echo "x'])
def test_another_version_than_the_projects_is_refused(project, version):
    refused = release_notes(project, version)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "VERSION is missing" in refused.stderr or "pyproject.toml has another version" in refused.stderr


def test_version_without_a_section_is_refused(project):
    (project / "CHANGELOG.md").write_text(CHANGELOG.replace("## [1.10.0] - 2026-12-24", ""))
    refused = release_notes(project, "1.10.0")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "CHANGELOG.md has no section '## [1.10.0] - DATE'" in refused.stderr


def test_the_projects_version_is_ready_for_release():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    notes = release_notes(ROOT, version)
    assert notes.returncode == 0, notes.stderr
    assert "### Added" in notes.stdout
