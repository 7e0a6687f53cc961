"""The locked packages of the images' layers: equal to uv.lock, and available for both architectures."""

import re
import subprocess
import tomllib

import pytest

from tests.emulator import ROOT

IMAGE = ("1-native", "2-service")
LAYERS = (*IMAGE, "3-bulk")
# The base image is Amazon Linux 2023 with glibc 2.34; the function runs Python 3.13.
GLIBC = 34
PYTHON = r"(cp313-cp313|cp3\d+-abi3)"


def locked_versions(layer: str) -> dict[str, str]:
    """Return the versions of a layer's packages by name."""
    text = (ROOT / "layers" / layer / "requirements.txt").read_text()
    return dict(re.findall(r"^([\w.-]+)==([\w.]+)", text, re.MULTILINE))


def test_requirements_match_uv_lock(tmp_path):
    for layer in LAYERS:
        (tmp_path / layer).mkdir()
    subprocess.run(["make", "--silent", "layers", f"LAYERS={tmp_path}"], cwd=ROOT, check=True)
    for layer in LAYERS:
        exported = (tmp_path / layer / "requirements.txt").read_text()
        assert exported == (ROOT / "layers" / layer / "requirements.txt").read_text(), "run make layers"


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_every_package_has_a_compatible_wheel(layer, machine):
    compatible = re.compile(
        rf"-py[\w.]+-none-any\.whl$|-{PYTHON}-[\w.]*manylinux_2_(\d+)_{machine}[\w.]*\.whl$|{PYTHON}-manylinux2014_{machine}"
    )
    lock = tomllib.loads((ROOT / "uv.lock").read_text())
    packages = {(package["name"], package["version"]): package for package in lock["package"]}
    for name, version in locked_versions(layer).items():
        wheels = [wheel["url"].rpartition("/")[2] for wheel in packages[name, version]["wheels"]]
        found = [match for match in map(compatible.search, wheels) if match]
        assert any(int(match[2] or 0) <= GLIBC for match in found), f"{name} {version}: {wheels}"


@pytest.mark.parametrize("layer", LAYERS)
def test_every_package_is_pinned_by_hash(layer):
    entries = (ROOT / "layers" / layer / "requirements.txt").read_text().replace("\\\n", "").splitlines()
    assert len(entries) == len(locked_versions(layer)) > 0
    assert all("--hash=sha256:" in entry for entry in entries)
