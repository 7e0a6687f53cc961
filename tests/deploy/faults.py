"""Faults that a test asks the emulated AWS for, in a file that both know."""

import json
import re
import threading
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import gettempdir

NAME = "faults.json"


@dataclass(frozen=True, slots=True)
class Fault:
    """An error instead of a response.

    request  a regular expression that finds the requests: `GET /bucket/key`, or `invoke` and the event's JSON
    code     the error code that AWS has for it
    status   the HTTP status, of S3 only
    every    every how many of these requests fail
    times    how many of them fail; 0 for no limit
    """

    request: str
    code: str
    status: int = 503
    every: int = 1
    times: int = 0


def ask_for(folder: Path, *faults: Fault) -> None:
    """Ask for these faults, and no others, of the emulated AWS whose folder this is."""
    (folder / NAME).write_text(json.dumps([asdict(fault) for fault in faults]))


seen: "Counter[Fault]" = Counter()
lock = threading.Lock()


def fault_of(request: str) -> Fault | None:
    """Return the fault that this request has to meet."""
    path = Path(gettempdir()) / NAME
    for fault in (Fault(**fields) for fields in json.loads(path.read_text())) if path.exists() else ():
        if re.search(fault.request, request):
            with lock:
                seen[fault] += 1
                count, rest = divmod(seen[fault], fault.every)
            if not rest and (not fault.times or count <= fault.times):
                return fault
    return None
