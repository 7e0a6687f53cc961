"""The process that runs batches beside the local server: started when a batch waits, and again when it fails."""

import logging
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread

COMMAND = ["-m", "handler.bulk.batch_desk"]
FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 1.0, 30.0  # after a failure; the next one doubles it
STOP_SECONDS = 0.5  # in which it ends

logger = logging.getLogger("handler")


class BatchWorker:
    """Runs the batches of a folder in one process at a time, which ends when none waits.

    The process ends when its standard input does: so it ends with this one, however this one ends.
    """

    def __init__(self, folder: Path, *, quiet: bool) -> None:
        self._command = [sys.executable, *COMMAND, str(folder), *(["--quiet"] if quiet else [])]
        self._wanted, self._stopped = Event(), Event()
        self._process: subprocess.Popen[bytes] | None = None
        if (folder / "owners").exists():  # batches may wait since the last time
            self._wanted.set()
        Thread(target=self._run, name="batches", daemon=True).start()

    def start(self, batch: str) -> None:  # noqa: ARG002 - the process finds it
        """Have the process look for batches; one that runs looks again when it has ended."""
        self._wanted.set()

    def stop(self) -> None:
        """End the process; what it has done remains."""
        self._stopped.set()
        process = self._process
        if process and process.stdin:
            with suppress(OSError):
                process.stdin.close()
            with suppress(subprocess.TimeoutExpired):
                process.wait(STOP_SECONDS)
            process.kill()

    def _run(self) -> None:
        pause = FIRST_PAUSE_SECONDS
        self._wanted.wait()
        while not self._stopped.is_set():
            self._wanted.clear()
            started = time.monotonic()
            failed = True
            try:
                with subprocess.Popen(self._command, stdin=subprocess.PIPE) as self._process:  # noqa: S603 - this Python
                    failed = self._process.wait() != 0
            except OSError as error:  # too many processes or files, or too little memory
                logger.warning("batches wait: their process cannot be started: %s", error)
            if not failed or time.monotonic() - started > MAX_PAUSE_SECONDS:
                pause = FIRST_PAUSE_SECONDS
            if failed:
                self._stopped.wait(pause)
                pause = min(2 * pause, MAX_PAUSE_SECONDS)
            else:
                self._wanted.wait()
