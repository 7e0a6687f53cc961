"""Reports the ends of batches locally: in a thread that repeats each report until it is accepted or too old."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Condition, Thread

from handler.batches.folder import END, BatchFolder, every_batch
from handler.bulk.webhooks import REPORTED, WebhookError, report
from handler.errors import BulkError
from handler.settings import Settings
from handler.storage.entries import Storage

logger = logging.getLogger("handler")

FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 1.0, 120.0
REPORT_SECONDS = 3600  # after its end, a batch is reported no more, as on AWS


@dataclass(slots=True)
class Reports:
    """Reports what has ended, beside the batches that run.

    clock  the time in Unix seconds
    """

    settings: Settings
    clock: Callable[[], float] = time.time
    _due: dict[BatchFolder, tuple[float, float]] = field(default_factory=dict)  # the next try, and the pause after it
    _changed: Condition = field(default_factory=Condition)
    _started: bool = False

    def add(self, folder: BatchFolder) -> None:
        """Report how a batch ended, soon, if a URL is set."""
        if not self.settings.webhook_url:
            return
        with self._changed:
            self._due.setdefault(folder, (time.monotonic(), FIRST_PAUSE_SECONDS))
            self._changed.notify()
            if not self._started:
                self._started = True
                Thread(target=self._run, name="reports", daemon=True).start()

    @property
    def waiting(self) -> bool:
        """Whether a report is still to be made."""
        return bool(self._due)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._due)
                folder, (when, pause) = min(self._due.items(), key=lambda each: each[1])
                if when > time.monotonic():
                    self._changed.wait(when - time.monotonic())  # or until another one is due
                    continue
            done = self._try(folder)
            with self._changed:
                del self._due[folder]
                if not done:
                    self._due[folder] = time.monotonic() + pause, min(2 * pause, MAX_PAUSE_SECONDS)

    def _try(self, folder: BatchFolder) -> bool:
        """Report once; return whether nothing remains to do: it was taken, or the end is too old."""
        try:
            report(folder, self.settings, int(self.clock()))
        except (WebhookError, BulkError) as error:
            logger.warning("%s: its end is not reported yet: %s", folder.id, error)
            try:
                end = folder.end()
            except BulkError:  # the storage may work later
                return False
            return not end or self.clock() > end.at + REPORT_SECONDS
        return True


def unreported(storage: Storage, now: float) -> list[BatchFolder]:
    """Return the batches that ended a short time ago, and whose ends have not been reported."""
    ended = [folder for folder, names in every_batch(storage).items() if END in names and REPORTED not in names]
    return [folder for folder in ended if (end := folder.end()) and now <= end.at + REPORT_SECONDS]
