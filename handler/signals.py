"""Ctrl-C and SIGTERM: one line, no traceback, and the exit status of a process that a signal ended."""

import os
import signal
from contextlib import suppress

NAMES = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}


def exit_on_signals() -> None:
    """End the process at once on Ctrl-C or SIGTERM: an exception, raised at any place, could end in a traceback."""
    for number in NAMES:
        signal.signal(number, _exit)


def announce(number: int) -> None:
    """Write the one line."""
    with suppress(OSError):  # the terminal may be closed
        os.write(2, f"Stopped by {NAMES[signal.Signals(number)]}.\n".encode())


def exit_status(number: int) -> int:
    """Return the exit status that a shell reports for a process that a signal ended: 130 or 143."""
    return 128 + number


def _exit(number: int, _: object) -> None:
    announce(number)
    os._exit(exit_status(number))
