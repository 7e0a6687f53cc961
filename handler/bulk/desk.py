"""The executor on this machine: all shards in order with all cores, each part as soon as its shards are done.

After a crash or a power failure, too, another run goes on after the last shard that has a receipt.
"""

import fcntl
import math
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from itertools import count, takewhile
from typing import TextIO

from handler.bulk.background import SWITCH_SECONDS
from handler.bulk.merge import Manifest, check_rejects, finish, group, write_part
from handler.bulk.plan import Plan
from handler.bulk.progress import Display, Progress
from handler.bulk.receipts import Receipt, shard_receipts
from handler.bulk.shard import Work, embed_shards
from handler.errors import BulkError
from handler.storage.entries import Storage
from handler.storage.folder import TEMPORARY, Folder, from_os_error

LOCK = "_job/lock"


def run(work: Work, max_rejects: str) -> Manifest:
    """Embed the shards that are not done, write the parts and the manifest.

    Raises:
        BulkError: the input cannot be read, the output cannot be written, or too many rows were rejected.
        KeyboardInterrupt: the user has stopped it.
    """
    started, target, plan = time.monotonic(), work.target, work.plan
    done = shard_receipts(target, plan)
    parts = _write_parts(target, plan, done, 0)
    display = Display(sys.stderr)
    missing = [shard for shard in plan.shards if shard.number not in done]
    shards = embed_shards(work, missing, Progress(plan, done, display).update)
    with _switch_interval(SWITCH_SECONDS), closing(display), closing(shards):
        for shard, receipt in shards:
            done[shard.number] = receipt
            check_rejects(target, sum(each.rejects for each in done.values()), math.inf, max_rejects)
            parts = _write_parts(target, plan, done, parts)
    return finish(target, plan, parts, max_rejects, {"executor": "desk", "seconds": time.monotonic() - started})


@contextmanager
def _switch_interval(seconds: float) -> Iterator[None]:
    """Have threads hand over the GIL after so many seconds."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(seconds)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def _write_parts(target: Storage, plan: Plan, done: Mapping[int, Receipt], parts: int) -> int:
    """Write the parts whose shards are done, but for the first `parts`; return how many there are now."""
    first = [done[number] for number in takewhile(done.__contains__, count())]
    groups = group(first, len(plan.shards))
    for part in groups[parts:]:  # while the embedder works on the chunks that have been read ahead
        write_part(target, plan, part)
    return len(groups)


@contextmanager
def locked(target: Storage) -> Iterator[None]:
    """Keep other runs out of a folder; a bucket needs no lock, since all runs would write the same bytes.

    Raises:
        BulkError: another run writes there.
    """
    if not isinstance(target, Folder):
        yield
        return
    with _open_lock(target) as lock:
        if not _acquire(lock):
            raise BulkError(
                f"{target.uri}: process {lock.read()} writes there; wait for it, or make bulk-cancel ends it"
            )
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        target.delete(entry.name for entry in target.list(f"{TEMPORARY}/"))  # of runs that were killed
        yield


def cancel(target: Storage) -> None:
    """End the run that writes to a folder; what it has written remains.

    Raises:
        BulkError: there is none, or it has just begun.
    """
    if not isinstance(target, Folder):
        raise BulkError(f"{target.uri}: only a run that writes to a folder can be found; press Ctrl-C where it runs")
    idle = BulkError(f"{target.uri}: no run writes there")
    if not target.exists(LOCK):
        raise idle
    with _open_lock(target) as lock:
        if _acquire(lock):
            raise idle
        pid = lock.read()
        if not pid:
            raise BulkError(f"{target.uri}: a run begins there; try again")
        os.kill(int(pid), signal.SIGTERM)


def _open_lock(target: Folder) -> TextIO:
    path = target.path / LOCK
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("a+")
    except OSError as error:
        raise from_os_error(str(path), error) from error


def _acquire(lock: TextIO) -> bool:
    """Lock a file until it is closed, also by the end of the process; return False if another process has."""
    lock.seek(0)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
