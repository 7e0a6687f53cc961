"""Writes a verified model's files and then their manifest. No other module writes manifests."""

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

from handler.artifacts.manifest import MODEL_FILE, SCHEMA_VERSION, File, Manifest, sha256_of
from model_artifacts.recipe.verify import Figures


def describe(content: bytes) -> File:
    """Return a file's entry in the manifest."""
    return File(size=len(content), sha256=sha256_of(content))


def save(folder: Path, draft: Manifest, files: Mapping[str, bytes], quality: Mapping[str, Figures]) -> str:
    """Write the files and then the manifest; return the model's digest.

    The existing manifest may have figures for a data set that was not measured this time. They are kept if the model
    has the same bytes and the same calibration.
    """
    path = folder / "manifest.json"
    existing = Manifest.parse(path.read_bytes()) if path.exists() else None
    if existing and _vectors(existing) == _vectors(draft):
        quality = {**existing.quality, **quality}
    path.unlink(missing_ok=True)
    for name, content in files.items():
        (folder / name).unlink(missing_ok=True)  # a service that has mapped the old file keeps it
        (folder / name).write_bytes(content)
    manifest = {"schema": SCHEMA_VERSION, **asdict(replace(draft, quality=quality))}
    path.write_text(json.dumps(manifest, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    return describe(path.read_bytes()).sha256


def _vectors(manifest: Manifest) -> object:
    """Return what a manifest says of its model's vectors and their types."""
    return manifest.files[MODEL_FILE], manifest.calibration
