"""IDs of files, batches, uploads and parts: they cannot be guessed, and sort by the time of their creation.

An ID is a prefix, 8 hex digits of Unix seconds, and 24 random hex digits. Only IDs that match become parts of paths.
"""

import re
import secrets
from collections.abc import Iterable
from typing import Literal

from handler.errors import RequestError

Kind = Literal["file-", "batch_", "upload_", "part_"]


def new_id(kind: Kind, now: int) -> str:
    """Return an ID for what is created now."""
    return f"{kind}{now:08x}{secrets.token_hex(12)}"


def is_id(kind: Kind, value: str) -> bool:
    """Return whether a string could be an ID of that kind."""
    return re.fullmatch(rf"{kind}[0-9a-f]{{32}}", value) is not None


def only_ids(kind: Kind, names: Iterable[str]) -> list[str]:
    """Return the names that are IDs: a folder may also contain what someone else has put there."""
    return [name for name in names if is_id(kind, name)]


def creation_time(value: str) -> int:
    """Return the Unix seconds in an ID."""
    return int(value[-32:-24], 16)


def check_after(kind: Kind, after: str | None) -> None:
    """Check what a request gives as the last item of the page before.

    Raises:
        RequestError: it is no such ID.
    """
    if after is not None and not is_id(kind, after):
        raise RequestError(f"Invalid 'after': expected an ID, '{kind}...'.", param="after", code="invalid_value")
