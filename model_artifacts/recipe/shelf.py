"""`python -m model_artifacts.recipe.shelf` (make models-shelf): lists models.toml, the models worth building.

The file is beside the recipe, because `make model SHELF=...` reads it; docs/models.md shows it.
"""

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from handler.artifacts.manifest import Pooling
from model_artifacts.recipe.configuration import SourceError

FILE = Path(__file__).parent.parent / "models.toml"
BUNDLED = "all-MiniLM-L6-v2"


@dataclass(frozen=True, slots=True)
class Entry:
    """A model on the shelf; models.toml describes the fields."""

    source: str
    license: str
    languages: str
    architecture: str
    dimensions: int
    tokens: int
    pooling: Pooling
    revision: str | None = None
    prompts: Mapping[str, str] = field(default_factory=dict)
    matryoshka: Sequence[int] = ()
    mteb: Mapping[str, Any] = field(default_factory=dict)
    tried: str | None = None


def main() -> None:
    """Print the shelf as a table."""
    rows = [("model", "dimensions", "tokens", "licence", "retrieval", "tried here with")]
    for name, entry in read().items():
        score = f"{entry.mteb['retrieval']} (v{entry.mteb['version']})" if "retrieval" in entry.mteb else ""
        size = f"{entry.dimensions}", f"{entry.tokens}"
        rows.append((name, *size, entry.license, score, entry.tried or "nothing: the recipe is ready"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    print("\nretrieval: published MTEB score, by version of the English benchmark; build one: make model SHELF=NAME")


def read() -> dict[str, Entry]:
    """Return the entries by the name of their model.

    Raises:
        TypeError: an entry has an unknown field, or lacks one.
    """
    return {name: Entry(**entry) for name, entry in tomllib.loads(FILE.read_text(encoding="utf-8")).items()}


def expand(arguments: Sequence[str], *names: str) -> list[str]:
    """Replace the option `--shelf NAME` by what it stands for, of the options with these names.

    Others take precedence, and with another source, the revision is not that of the shelf.

    Raises:
        SourceError: the shelf has no such model.
    """
    if "--shelf" not in arguments:
        return list(arguments)
    place = arguments.index("--shelf")
    name = "".join(arguments[place + 1 : place + 2])
    options = _options(name)
    if "--source" in arguments:
        options = {option: value for option, value in options.items() if option not in {"source", "revision"}}
    chosen = [part for option, value in options.items() if option in names for part in (f"--{option}", value)]
    return [*chosen, *arguments[:place], *arguments[place + 2 :]]


def _options(name: str) -> dict[str, str]:
    entries = read()
    if name not in entries:
        raise SourceError(f"SHELF={name}: the shelf has no such model, but {', '.join(entries)}")
    entry = entries[name]
    options = {"source": entry.source, "name": name, "license": entry.license}
    if entry.revision:
        options["revision"] = entry.revision
    if entry.prompts:
        options["prompts"] = json.dumps(dict(entry.prompts))
    return options


if __name__ == "__main__":
    main()
