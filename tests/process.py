"""The local service in its own process, and the resources that a process uses."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.emulator import ROOT, clean_environment


@dataclass(frozen=True)
class Service:
    """A running service and its URL, which is empty if the process exited before it served."""

    url: str
    process: "subprocess.Popen[str]"


@contextmanager
def start(setup: str = "", *options: str, **environment: str) -> Iterator["subprocess.Popen[str]"]:
    """Start the local service on a free port; `setup` is Python code that the process runs first.

    Its request log is off without `options`: no test reads it, and a full pipe would block the service.
    """
    code = f"{setup}\nimport runpy; runpy.run_module('handler.local', run_name='__main__')"
    command = [sys.executable, "-c", code, "--port", "0", *(options or ["--quiet"])]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=clean_environment(**environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.terminate()  # not kill: coverage saves its data when the process ends itself
            with suppress(subprocess.TimeoutExpired):
                process.wait(3)
            process.kill()


@contextmanager
def serve(setup: str = "", *options: str, **environment: str) -> Iterator[Service]:
    """Start the local service on a free port, and wait until it listens."""
    with start(setup, *options, **environment) as process:
        assert process.stdout
        found = re.search(r"http://(?:\[[\d:a-f]+\]|[\d.]+):\d+", process.stdout.readline())
        yield Service(found[0] if found else "", process)


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process in seconds (proc_pid_stat(5): fields 14 and 15, in clock ticks)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def data_bytes(pid: int) -> int:
    """Return the size of a process's data segment in bytes (proc_pid_status(5): VmData)."""
    return int(Path(f"/proc/{pid}/status").read_text().partition("VmData:")[2].split()[0]) * 1024


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a process in bytes (proc_pid_statm(5): field 2, in pages)."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def descriptors(pid: int) -> int:
    """Count a process's open files, pipes and connections."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def threads(pid: int) -> int:
    """Count a process's threads."""
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def wait_until(condition: Callable[[], bool], seconds: float = 20) -> None:
    """Poll a condition until it is true; fail after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not become true in time"
        time.sleep(0.005)
