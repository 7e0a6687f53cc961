"""The only writer of a manifest, after everything it names: what is not verified cannot be served."""

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

from handler.artifacts.manifest import MODEL_FILE, SCHEMA_VERSION, File, Manifest, sha256_of
from model_artifacts.recipe.verify import Figures


def describe(content: bytes) -> File:
    """Return a file's entry in the manifest."""
    return File(size=len(content), sha256=sha256_of(content))


def seal(folder: Path, draft: Manifest, files: Mapping[str, bytes], quality: Mapping[str, Figures]) -> str:
    """Write the files and then the manifest; return the model's digest.

    Figures that the sealed manifest holds for a data set that was not at hand this time stay, if they are of the same
    model: they belong to its bytes.
    """
    path = folder / "manifest.json"
    sealed = Manifest.parse(path.read_bytes()) if path.exists() else None
    if sealed and sealed.files[MODEL_FILE] == draft.files[MODEL_FILE]:
        quality = {**sealed.quality, **quality}
    path.unlink(missing_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    manifest = {"schema": SCHEMA_VERSION, **asdict(replace(draft, quality=quality))}
    path.write_text(json.dumps(manifest, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    return describe(path.read_bytes()).sha256
