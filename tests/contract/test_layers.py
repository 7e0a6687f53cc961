"""The locked packages of the image's layers: in step with uv.lock, and to be had for both architectures."""

import re
import subprocess
import tomllib

import pytest

from tests.emulator import ROOT

LAYERS = ("1-native", "2-service")
# Amazon Linux 2023, the base image's system, has the C library 2.34; the function runs Python 3.13.
GLIBC = 34
PYTHON = r"(cp313-cp313|cp3\d+-abi3)"


def locked(layer: str) -> dict[str, str]:
    """Return the versions of a layer's packages by name."""
    text = (ROOT / "layers" / layer / "requirements.txt").read_text()
    return dict(re.findall(r"^([\w.-]+)==([\w.]+)", text, re.MULTILINE))


def test_they_are_what_uv_lock_says(tmp_path):
    for layer in LAYERS:
        (tmp_path / layer).mkdir()
    subprocess.run(["make", "--silent", "layers", f"LAYERS={tmp_path}"], cwd=ROOT, check=True)
    for layer in LAYERS:
        exported = (tmp_path / layer / "requirements.txt").read_text()
        assert exported == (ROOT / "layers" / layer / "requirements.txt").read_text(), "run make layers"


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_there_is_a_wheel_for_the_function(layer, machine):
    fitting = re.compile(
        rf"-py[\w.]+-none-any\.whl$|-{PYTHON}-[\w.]*manylinux_2_(\d+)_{machine}[\w.]*\.whl$|{PYTHON}-manylinux2014_{machine}"
    )
    lock = tomllib.loads((ROOT / "uv.lock").read_text())
    packages = {(package["name"], package["version"]): package for package in lock["package"]}
    for name, version in locked(layer).items():
        wheels = [wheel["url"].rpartition("/")[2] for wheel in packages[name, version]["wheels"]]
        found = [match for match in map(fitting.search, wheels) if match]
        assert any(int(match[2] or 0) <= GLIBC for match in found), f"{name} {version}: {wheels}"


@pytest.mark.parametrize("layer", LAYERS)
def test_every_package_is_pinned_by_hash(layer):
    entries = (ROOT / "layers" / layer / "requirements.txt").read_text().replace("\\\n", "").splitlines()
    assert len(entries) == len(locked(layer)) > 2
    assert all("--hash=sha256:" in entry for entry in entries)
