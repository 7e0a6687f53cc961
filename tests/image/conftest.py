"""What the tests of the image share: its name, and a command in it as Lambda would run it."""

import subprocess
from collections.abc import Callable

import pytest

from tests.emulator import LOCKED_DOWN

Python = Callable[[str], str]


@pytest.fixture(scope="session")
def image(request) -> str:
    name: str | None = request.config.getoption("--image")
    if not name:
        pytest.fail("which image? make test-image builds it and says so")
    return name


@pytest.fixture(scope="session")
def python(image) -> Python:
    """Return a function that runs a script in the image: no rights, no network, nothing writable but /tmp."""

    def run(script: str) -> str:
        command = ["docker", "run", "--rm", "--network", "none", *LOCKED_DOWN, "--env", "AUTH_MODE=none"]
        command += ["--entrypoint", "python", image, "-c", script]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run
