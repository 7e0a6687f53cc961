"""Fixtures of the image tests: the image's name, and a function that runs Python in it under Lambda's restrictions."""

import subprocess
from collections.abc import Callable

import pytest

from tests.emulator import LOCKED_DOWN

Python = Callable[[str], str]


@pytest.fixture(scope="session")
def image(request) -> str:
    name: str | None = request.config.getoption("--image")
    if not name:
        pytest.fail("--image is missing: make test-image builds the image and passes its name")
    return name


@pytest.fixture(scope="session")
def python(image) -> Python:
    """Return a function that runs a script in the image: unprivileged, without network, only /tmp writable."""

    def run(script: str) -> str:
        command = ["docker", "run", "--rm", "--network", "none", *LOCKED_DOWN, "--env", "AUTH_MODE=none"]
        command += ["--entrypoint", "python", image, "-c", script]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run
