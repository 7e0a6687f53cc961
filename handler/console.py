"""The request log of the local server: a line on the screen for each request, never a text of one."""

import sys
from contextlib import suppress
from dataclasses import dataclass

from handler.telemetry import RequestRecord

MAX_CHARACTERS = 300  # of a path or a message: both may quote what the client sent


@dataclass(frozen=True, slots=True)
class ConsoleLog:
    """Writes a line for each request to standard error."""

    def log_request(self, record: RequestRecord, status: int, seconds: float) -> None:
        """Write the method, path, status, model, counts and milliseconds, and the error with its message."""
        fields = [record.method, record.path, str(status or "disconnected")]
        if record.model:
            fields += [record.model, f"inputs={record.inputs}", f"tokens={record.tokens}"]
        fields.append(f"{seconds * 1000:.1f}ms")
        if record.error:
            fields.append(f"{record.error}: {record.message}")
        with suppress(OSError):  # the terminal may be closed
            print(*map(_printable, fields), file=sys.stderr, flush=True)


def _printable(text: str) -> str:
    """Shorten a text, and escape what would move a terminal's cursor or change the direction of writing."""
    shortened = text if len(text) <= MAX_CHARACTERS else f"{text[:MAX_CHARACTERS]}…"
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in shortened)
