"""Runs the batches of a folder beside the server: `python -m handler.bulk.batch_desk FOLDER`.

It ends when no batch waits, with status 1 if one could not go on, and with its standard input: the server has it open
as long as it runs. Wherever it ends, another run goes on, and writes the same bytes.
"""

import argparse
import fcntl
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import TextIO

from handler.batches.expiry import delete_expired
from handler.batches.folder import BatchFolder, waiting
from handler.batches.records import BatchPlan, BatchShard
from handler.bulk.background import SWITCH_SECONDS
from handler.bulk.batch_embed import BatchModel
from handler.bulk.batch_finish import finish
from handler.bulk.batch_shard import find_model, is_over, missing, once_loaded, run_shards
from handler.bulk.batch_tries import MAX_TRIES, begin, forget, forgive
from handler.bulk.batch_validate import validate
from handler.bulk.reports import Reports, unreported
from handler.errors import (
    ArtifactError,
    BulkError,
    ModelMismatchError,
    ModelNotFoundError,
    UnavailableError,
)
from handler.models.catalog import Catalog
from handler.settings import Settings
from handler.storage.folder import Folder
from handler.telemetry import log_failure, log_unexpected

logger = logging.getLogger("handler")

LOCK = "_job/lock"
NICE = 19  # what the server does comes first
SLICE_SECONDS = 5.0  # of a batch, while others wait
IDLE_SECONDS = 1.0  # between two looks for batches, while ends are still to be reported


def main() -> None:
    """Run all batches that wait."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the server's
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--quiet", action="store_true", help="do not report the states of batches")
    arguments = parser.parse_args()
    os.nice(NICE)
    sys.setswitchinterval(SWITCH_SECONDS)
    storage = Folder(arguments.folder)
    desk = Desk(storage, Settings.from_env(os.environ), None if arguments.quiet else sys.stderr)
    Thread(target=_end_with_input, args=[desk], daemon=True).start()
    with _alone(storage):
        sys.exit(0 if desk.run() else 1)


def _end_with_input(desk: "Desk") -> None:
    os.read(sys.stdin.fileno(), 1)  # not of the file object, whose lock the end of the interpreter needs
    desk.forgive()  # that it did not get further is not the batch's fault
    os._exit(0)


@contextmanager
def _alone(storage: Folder) -> Iterator[None]:
    """Wait until no other process runs batches of a folder."""
    path = storage.path / LOCK
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@dataclass(slots=True)
class Desk:
    """Runs the batches of a folder, in turns.

    log    where each new state of a batch is reported, in a line
    clock  the time in Unix seconds
    """

    storage: Folder
    settings: Settings
    log: TextIO | None = None
    clock: Callable[[], float] = time.time
    _catalog: Catalog | None = None
    _now: BatchFolder | None = None  # the batch that is being worked on
    _failed: set[str] = field(default_factory=set)
    _turns: dict[str, float] = field(default_factory=dict)
    _reports: Reports = field(init=False)

    def __post_init__(self) -> None:
        self._reports = Reports(self.settings, self.clock)

    def run(self) -> bool:
        """Delete what has expired, run all batches that wait, and report their ends; return whether all have ended."""
        try:
            delete_expired(self.storage, self._time())
        except BulkError as error:
            logger.error("what has expired is deleted later: %s", error)  # noqa: TRY400 - it is one line
        for folder in unreported(self.storage, self.clock()):
            self._reports.add(folder)
        while (todo := self._waiting()) or (self._reports.waiting and not self._failed):
            if not todo:
                time.sleep(IDLE_SECONDS)
            for folder in todo:
                self._attempt(folder, self._look_at)
            if ready := self._waiting():
                self._attempt(min(ready, key=lambda each: self._turns.get(each.id, 0.0)), self._run_shards)
        return not self._failed

    def forgive(self) -> None:
        """Do not count the try that is being made; if the disk is full, it counts."""
        if self._now:
            with suppress(BulkError):
                forgive(self._now)

    def _waiting(self) -> list[BatchFolder]:
        return [folder for folder in waiting(self.storage) if folder.id not in self._failed]

    def _time(self) -> int:
        return int(self.clock())

    def _attempt(self, folder: BatchFolder, work: Callable[[BatchFolder], None]) -> None:
        """Work on a batch; on its end, if that has failed too often, or if its model is gone."""
        self._now = folder
        try:
            if begin(folder) > MAX_TRIES:
                self._report(folder, f"given up after {MAX_TRIES} tries")
                self._finish(folder)
            else:
                work(folder)
            self.forgive()
        except (ModelNotFoundError, ModelMismatchError) as error:
            self._report(folder, f"its model is not served any more: {error}")
            self._attempt(folder, self._finish)
        except (ArtifactError, BulkError, UnavailableError) as error:  # the cause may be gone the next time
            self._failed.add(folder.id)
            logger.error("%s goes on later: %s", folder.id, error)  # noqa: TRY400 - it is one line
            self.forgive()
        except Exception as error:  # noqa: BLE001 - its message may quote texts
            self._failed.add(folder.id)
            log_unexpected(folder.id, error)
        self._now = None

    def _look_at(self, folder: BatchFolder) -> None:
        """Prepare a batch the first time, and end it if it is over."""
        if folder.id not in self._turns:
            self._prepare(folder)
        elif is_over(folder, self._time()):
            self._finish(folder)

    def _prepare(self, folder: BatchFolder) -> None:
        """Validate a batch's input, unless that is done, and end it if it is not valid, or over."""
        self._turns[folder.id] = 0.0
        if not folder.plan() and not folder.cancelled():
            self._report(folder, "validating")
            self._validate(folder)
        plan = folder.plan()
        if not plan or is_over(folder, self._time()):
            self._finish(folder)
            return
        done = len(plan.shards) - len(missing(folder, plan))
        self._report(folder, f"in_progress: {plan.requests:,} requests, {done} of {len(plan.shards)} shards done")

    def _validate(self, folder: BatchFolder) -> None:
        """Validate a batch's input; if that is not possible until its window ends, leave it without a plan."""
        try:
            validate(folder, self._models(), self._time())
        except (BulkError, UnavailableError):
            if not is_over(folder, self._time()):
                raise

    def _run_shards(self, folder: BatchFolder) -> None:
        """Run shards, until all are done, or until it is another batch's turn."""
        plan = folder.plan()
        if not plan:
            return
        self._turns[folder.id] = time.monotonic()
        for _ in run_shards(folder, self._model(plan), self._while_its_turn(folder, missing(folder, plan))):
            pass
        if is_over(folder, self._time()) or not missing(folder, plan):
            self._finish(folder)

    def _while_its_turn(self, folder: BatchFolder, shards: list[BatchShard]) -> Iterator[BatchShard]:
        """Yield shards; at least one, so that every turn gets further."""
        ends = time.monotonic() + SLICE_SECONDS
        for number, shard in enumerate(shards):
            if is_over(folder, self._time()) or (number and time.monotonic() > ends and len(self._waiting()) > 1):
                return
            yield shard

    def _finish(self, folder: BatchFolder) -> None:
        if not folder.end() and folder.plan():
            self._report(folder, "finalizing")
        end = finish(folder, self._time())
        forget(folder)
        self._reports.add(folder)
        facts = f"{end.completed:,} completed, {end.failed:,} failed, {end.tokens:,} tokens"
        self._report(folder, f"{end.ending}: {f'{len(end.errors):,} errors' if end.errors else facts}")

    def _models(self) -> Catalog:
        if not self._catalog:
            self._catalog = Catalog(self.settings, log_failure)
        return self._catalog

    def _model(self, plan: BatchPlan) -> BatchModel:
        """Return a batch's model, once it has loaded."""
        return once_loaded(lambda: find_model(self._models(), plan))

    def _report(self, folder: BatchFolder, state: str) -> None:
        if self.log:
            self.log.write(f"{folder.id} {state}\n")
            self.log.flush()


if __name__ == "__main__":
    main()
