"""The function under Lambda's Runtime Interface Emulator: as a process (fast, without Docker), or in its image."""

import json
import os
import platform
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import httpx2

ROOT = Path(__file__).parents[1]
ARCHITECTURE = {"aarch64": "arm64"}.get(platform.machine(), platform.machine())  # of this machine, as AWS names it
FUNCTION = "embeddings-under-test"
ENVIRONMENT = {"AWS_LAMBDA_FUNCTION_NAME": FUNCTION, "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1769"}
# Like Lambda: a read-only file system except for /tmp, and an unprivileged user.
LOCKED_DOWN = ("--read-only", "--tmpfs", "/tmp:mode=1777", "--user", "993:990", "--cap-drop", "ALL")  # noqa: S108 - in the container


@dataclass(frozen=True)
class Function:
    """A running function: the address of its endpoint, the path of its log, and the process ID of the emulator."""

    address: str
    log_path: Path
    pid: int

    @property
    def runtime_pid(self) -> int:
        """The process ID of the runtime, which the emulator started and which runs the handler."""
        threads = Path(f"/proc/{self.pid}/task").glob("*/children")  # any thread may have started it
        return int(next(child for thread in threads for child in thread.read_text().split()))

    def invoke(self, event: dict[str, Any]) -> Any:
        """Invoke the function and return its response. The emulator handles one invocation at a time."""
        url = f"http://{self.address}/2015-03-31/functions/function/invocations"
        return httpx2.post(url, json=event, timeout=60).json()

    def log_lines(self) -> list[str]:
        """Return the lines that the function logged, without the emulator's."""
        emulator_prefixes = ("START RequestId", "END RequestId", "REPORT RequestId", "INIT_", "EXTENSION")
        lines = self.log_path.read_text().splitlines()
        return [line for line in lines if line and not line.startswith(emulator_prefixes) and "(rapid)" not in line]

    def records(self) -> list[dict[str, Any]]:
        """Return the function's log lines, parsed as JSON objects."""
        return [json.loads(line) for line in self.log_lines()]


@contextmanager
def run(image: str | None, log_path: Path, **environment: str) -> Iterator[Function]:
    """Run the function until the block ends: in the image, or the working copy as a process.

    As on Lambda, the variable _HANDLER names another handler than that of the API; in an image it is the image's own.
    """
    with log_path.open("wb") as log, (_container if image else _process)(image or "", log, environment) as started:
        address, pid = started
        _wait_for(address)
        yield Function(address, log_path, pid)


@contextmanager
def _process(_: str, log: Any, environment: dict[str, str]) -> Iterator[tuple[str, int]]:
    samcli = distribution("aws-sam-cli").locate_file("samcli")
    address, runtime_api = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    listen = ["--runtime-interface-emulator-address", address, "--runtime-api-address", runtime_api]
    command = [f"{samcli}/local/rapid/aws-lambda-rie-{ARCHITECTURE}", *listen]
    command += [sys.executable, "-m", "awslambdaric", environment.pop("_HANDLER", "handler.main.lambda_handler")]
    settings = clean_environment(**{**ENVIRONMENT, **environment})
    with subprocess.Popen(command, cwd=ROOT, env=settings, stdout=log, stderr=log) as process:
        try:
            yield address, process.pid
        finally:
            process.terminate()


@contextmanager
def _container(image: str, log: Any, environment: dict[str, str]) -> Iterator[tuple[str, int]]:
    settings = [
        option for name, value in {**ENVIRONMENT, **environment}.items() for option in ("--env", f"{name}={value}")
    ]
    command = ["docker", "run", "--detach", "--publish", "127.0.0.1::8080", *LOCKED_DOWN, *settings, image]
    container = subprocess.check_output(command, text=True).strip()
    try:
        published = subprocess.check_output(["docker", "port", container, "8080/tcp"], text=True)
        with subprocess.Popen(["docker", "logs", "--follow", container], stdout=log, stderr=log):
            state = subprocess.check_output(["docker", "inspect", "--format", "{{.State.Pid}}", container], text=True)
            yield published.split()[0], int(state)
            subprocess.run(["docker", "stop", "--time", "2", container], check=True, stdout=subprocess.DEVNULL)
    finally:
        subprocess.run(["docker", "rm", "--force", container], check=True, stdout=subprocess.DEVNULL)


def clean_environment(**settings: str) -> dict[str, str]:
    """Return an environment of these settings, PATH, and what `make coverage` needs to measure a subprocess."""
    kept = {name: os.environ[name] for name in ("PATH", "COVERAGE_PROCESS_CONFIG") if name in os.environ}
    return kept | settings


def bridge_address() -> str:
    """Return the host's address on Docker's bridge network, by which containers reach the host.

    It is read from the interface, because not every engine lists the gateway of the network.
    """
    options = '{{index .Options "com.docker.network.bridge.name"}}'
    bridge = subprocess.check_output(["docker", "network", "inspect", "bridge", "--format", options], text=True).strip()
    interfaces = json.loads(subprocess.check_output(["ip", "-json", "-4", "address", "show", bridge], text=True))
    return str(interfaces[0]["addr_info"][0]["local"])


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _wait_for(address: str, seconds: float = 20) -> None:
    host, port = address.split(":")
    deadline = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection((host, int(port)), 1).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return
