"""Real signals to the local service, as a process and through make: while it starts, while it is idle, in a request."""

import os
import re
import select
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx2
import pytest

from tests import process, raw_http
from tests.emulator import ROOT, clean_environment
from tests.process import wait_until

PATIENT = "import handler.server; handler.server.GRACE_SECONDS = 20"
LINES = {signal.SIGINT: "Stopped by Ctrl-C.\n", signal.SIGTERM: "Stopped by SIGTERM.\n"}

each_signal = pytest.mark.parametrize("sent", LINES)


def is_loading(pid: int) -> bool:
    """Return whether a process has mapped ONNX Runtime: it loads the model soon, or does already."""
    with suppress(OSError):  # it may have ended
        return "onnxruntime" in Path(f"/proc/{pid}/maps").read_text()
    return False


@each_signal
def test_signal_during_the_start_ends_it_with_one_line(sent):
    with process.start() as service:
        wait_until(lambda: is_loading(service.pid))
        service.send_signal(sent)
        printed, _ = service.communicate(timeout=20)
    assert (service.returncode, printed) == (128 + sent, LINES[sent])


@each_signal
def test_signal_to_an_idle_service_ends_it_with_one_line(sent):
    with process.serve() as service, httpx2.Client() as client:
        assert client.get(f"{service.url}/health").status_code == 200  # its connection stays open
        service.process.send_signal(sent)
        printed, _ = service.process.communicate(timeout=20)
    assert (service.process.returncode, printed.splitlines(keepends=True)[-1]) == (128 + sent, LINES[sent])
    assert "Traceback" not in printed


@each_signal
def test_signal_during_a_request_prints_its_line_at_once_and_cuts_the_request_short(sent):
    with process.serve() as service, raw_http.connect(service.url) as connection:
        before = process.cpu_seconds(service.process.pid)
        connection.sendall(raw_http.request("POST", "/v1/embeddings", body=raw_http.long_body(2_000)))
        wait_until(lambda: process.cpu_seconds(service.process.pid) > before + 0.3)
        service.process.send_signal(sent)
        printed, _ = service.process.communicate(timeout=20)
        assert connection.recv(1) == b""
    assert (service.process.returncode, printed.splitlines(keepends=True)[-1]) == (128 + sent, LINES[sent])
    assert "Traceback" not in printed


def test_request_that_ends_soon_after_the_signal_gets_its_response():
    with process.serve(PATIENT) as service:
        responses: list[httpx2.Response] = []
        url, body = f"{service.url}/v1/embeddings", raw_http.long_body(30)
        caller = threading.Thread(target=lambda: responses.append(httpx2.post(url, content=body, timeout=20)))
        before = process.cpu_seconds(service.process.pid)
        caller.start()
        wait_until(lambda: process.cpu_seconds(service.process.pid) > before + 0.05)
        service.process.send_signal(signal.SIGINT)
        caller.join()
        assert service.process.wait(20) == 130
    assert [response.status_code for response in responses] == [200]


def test_second_signal_ends_the_service_without_another_line():
    with process.serve() as service, raw_http.connect(service.url) as connection:
        before = process.cpu_seconds(service.process.pid)
        connection.sendall(raw_http.request("POST", "/v1/embeddings", body=raw_http.long_body(2_000)))
        wait_until(lambda: process.cpu_seconds(service.process.pid) > before + 0.3)
        service.process.send_signal(signal.SIGINT)
        assert service.process.stdout
        while (line := service.process.stdout.readline()) != LINES[signal.SIGINT]:
            assert line
        service.process.send_signal(signal.SIGINT)
        assert service.process.communicate(timeout=20)[0] == ""
    assert service.process.returncode == 130


class Terminal:
    """`make run` on a terminal of its own."""

    def __init__(self, pid: int, keyboard: int) -> None:
        self.pid = pid
        self.keyboard = keyboard
        self.screen = ""

    def read_until(self, pattern: str) -> None:
        """Read the screen until it matches a pattern; to the end, if it never does."""
        with suppress(OSError):  # EIO: no process has the terminal open any more
            while not re.search(pattern, self.screen):
                assert select.select([self.keyboard], [], [], 60)[0], self.screen
                self.screen += os.read(self.keyboard, 1024).decode()


@contextmanager
def make_run() -> Iterator[tuple[Terminal, "subprocess.Popen[bytes]"]]:
    keyboard, screen = os.openpty()
    command = ["setsid", "--ctty", "make", "run", "PORT=0"]
    with subprocess.Popen(
        command, cwd=ROOT, env=clean_environment(), stdin=screen, stdout=screen, stderr=screen
    ) as make:
        os.close(screen)
        terminal = Terminal(make.pid, keyboard)
        try:
            yield terminal, make
        finally:
            os.close(keyboard)  # which hangs up
            try:
                make.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(make.pid, signal.SIGKILL)  # setsid made it a group; `with` would wait for it without limit
                pytest.fail(f"make did not end when its terminal hung up; on the screen: {terminal.screen}")


@pytest.mark.parametrize("state", ["start", "idle", "request"])
@each_signal
def test_make_prints_the_line_of_the_service_and_none_of_its_own(sent, state):
    with make_run() as (terminal, make):
        if state == "start":
            wait_until(lambda: any(is_loading(int(pid)) for pid in descendants(make.pid)))
        else:
            terminal.read_until(r"another place\.\r?\n\r?\n")
        if state == "request":
            found = re.search(r"http://[\d.]+:\d+", terminal.screen)
            assert found
            connection = raw_http.connect(found[0])
            connection.sendall(raw_http.request("POST", "/v1/embeddings", body=raw_http.long_body(2_000)))
            (server,) = (pid for pid in descendants(make.pid) if is_loading(int(pid)))
            before = process.cpu_seconds(int(server))
            wait_until(lambda: process.cpu_seconds(int(server)) > before + 0.3)
        before_signal = terminal.screen
        if sent == signal.SIGINT:
            os.write(terminal.keyboard, b"\x03")
        else:
            make.send_signal(sent)
        terminal.read_until("never")
        assert make.wait(20) == -sent
        if state == "request":
            connection.close()
    assert terminal.screen.removeprefix(before_signal).replace("\r", "").replace("^C", "") == LINES[sent]


def descendants(pid: int) -> list[str]:
    """Return the processes that a process has started, and those that they have started."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    children = [child for task in tasks for child in task.read_text().split()]
    return children + [each for child in children for each in descendants(int(child))]
