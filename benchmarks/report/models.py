"""The tables of docs/models.md: the shelf, and what was measured of the models that were built.

A test compares the page with models.toml and benchmarks/models.json.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.report.readme import replace
from handler.artifacts.manifest import Manifest
from model_artifacts.recipe import shelf
from tests.emulator import ROOT

PAGE = ROOT / "docs/models.md"
FIGURES = Path(__file__).parents[1] / "models.json"
BEGIN = "<!-- make bench-models writes from here -->"
READY = "recipe ready, not built here"


def read() -> dict[str, Any]:
    """Return the measured figures by the name of their model."""
    figures: dict[str, Any] = json.loads(FIGURES.read_text(encoding="utf-8"))
    return figures


def save(figures: Mapping[str, Any]) -> None:
    """Save the figures in the order of the shelf."""
    ordered = {name: figures[name] for name in shelf.read() if name in figures}
    FIGURES.write_text(json.dumps(ordered, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def quality(manifest: Manifest) -> dict[str, Any]:
    """Return the figures of a manifest that the table shows, by data set."""
    return {name: manifest.quality[name] for name in ("golden", "sts-b-dev") if name in manifest.quality}


def write() -> None:
    """Write the tables into the page."""
    replace(BEGIN, tables(), PAGE)


def tables() -> str:
    """Return both tables as Markdown."""
    entries = shelf.read()
    return "\n\n".join((_shelf(entries), _measured(read())))


def _shelf(entries: Mapping[str, shelf.Entry]) -> str:
    head = "| model | revision | licence | languages | dimensions | tokens | pooling | prompts | MTEB | built here |"
    rows = [
        f"| [{name}](https://huggingface.co/{entry.source}) | {_revision(entry)} | {entry.license} | "
        f"{entry.languages} | {_dimensions(entry)} | {entry.tokens} | {entry.pooling} | {_prompts(entry)} | "
        f"{_mteb(entry)} | {entry.tried or READY} |"
        for name, entry in entries.items()
    ]
    return "\n".join([head, "|---" * 10 + "|", *rows])


def _revision(entry: shelf.Entry) -> str:
    return f"`{entry.revision[:7]}`" if entry.revision else "not pinned"


def _dimensions(entry: shelf.Entry) -> str:
    return f"{entry.dimensions}, Matryoshka" if entry.matryoshka else f"{entry.dimensions}"


def _prompts(entry: shelf.Entry) -> str:
    return ", ".join(f"{name}: `{text}`" for name, text in entry.prompts.items())


def _mteb(entry: shelf.Entry) -> str:
    if not entry.mteb:
        return ""
    figures = [f"{name} {entry.mteb[name]}" for name in ("average", "retrieval") if name in entry.mteb]
    return f"{', '.join(figures)} ([v{entry.mteb['version']}]({entry.mteb['source']}))"


def _measured(figures: Mapping[str, Mapping[str, Any]]) -> str:
    head = (
        "| model | size, MB | cosine, golden | Spearman, STS-B (full precision) | texts/s per core | "
        "cold start, CPU s | peak, MB | $ per million tokens |"
    )
    rows = [
        f"| {name} | {each['size_mb']} | {each['quality']['golden']['cosine_mean']} | {_spearman(each['quality'])} | "
        f"{each['texts_per_second']} | {each['cold_cpu_s']} | {each['peak_mb']} | {each['dollars']:.4f} |"
        for name, each in figures.items()
    ]
    return "\n".join([head, "|---" * 8 + "|", *rows])


def _spearman(quality: Mapping[str, Any]) -> str:
    sts = quality.get("sts-b-dev")
    return f"{sts['spearman']} ({sts['spearman_full_precision']})" if sts else ""
