"""Where a source comes from: what its directory says, and otherwise that it is unknown."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model_artifacts.recipe.configuration import SourceError
from model_artifacts.recipe.source import find_snapshot

UNKNOWN = "unknown"
CARD = "README.md"


@dataclass(frozen=True, slots=True)
class Origin:
    """A source's repository on the Hub, its commit there, and its licence as the model card says it."""

    upstream: str = UNKNOWN
    revision: str = UNKNOWN
    license: str = UNKNOWN


def find_origin(directory: Path, license_: str | None = None) -> Origin:
    """Read the path and the model card of a directory; `license_` is taken instead of the card's.

    Raises:
        SourceError: the model card cannot be read.
    """
    upstream, revision = find_snapshot(directory)
    return Origin(upstream or UNKNOWN, revision or UNKNOWN, license_ or _license(directory / CARD))


def _license(card: Path) -> str:
    """Return the licence in a model card's front matter (huggingface.co/docs/hub/model-cards)."""
    if not card.is_file():
        return UNKNOWN
    from huggingface_hub import metadata_load

    try:
        fields: Any = metadata_load(card) or {}
    except Exception as error:  # that of the YAML parser, which is huggingface_hub's own affair
        reason = " ".join(str(error).split())
        raise SourceError(
            f"{card}: its front matter cannot be read; set LICENSE, such as LICENSE=mit: {reason}"
        ) from error
    stated = fields.get("license")
    if stated == "other":  # a licence of the publisher's own
        stated = fields.get("license_name") or stated
    return ", ".join(map(str, stated if isinstance(stated, list) else [stated])) if stated else UNKNOWN
