"""The image's contents: every package is in the bill of materials, under an expected licence."""

import json
import re
import subprocess

import pytest

from handler.artifacts.manifest import sha256_of
from tests.contract.test_layers import IMAGE, locked_versions
from tests.emulator import ROOT

EXPECTED = {"0BSD", "Apache-2.0", "BSD-3-Clause", "CC0-1.0", "MIT", "MIT-0", "MPL-2.0", "PSF-2.0", "Zlib"}
SHIPPED = {name: version for layer in IMAGE for name, version in locked_versions(layer).items()}


@pytest.fixture(scope="module")
def bom(tmp_path_factory):
    path = tmp_path_factory.mktemp("sbom") / "sbom.json"
    subprocess.run(
        ["make", "--silent", "sbom", f"SBOM={path}", f"LICENCES={path.parent}/licences.md"], cwd=ROOT, check=True
    )
    assert (path.parent / "licences.md").read_text() == (ROOT / "docs" / "licences.md").read_text(), "run make sbom"
    return json.loads(path.read_text())


def test_bill_of_materials_lists_exactly_the_layers_packages(bom):
    libraries = {each["name"]: each["version"] for each in bom["components"] if each["type"] == "library"}
    assert libraries == SHIPPED
    assert (bom["bomFormat"], bom["specVersion"]) == ("CycloneDX", "1.5")
    assert all(
        each["purl"] == f"pkg:pypi/{each['name']}@{each['version']}" for each in bom["components"] if "purl" in each
    )


def test_every_licence_is_expected(bom):
    for component in bom["components"]:
        (declared,) = component["licenses"]
        named = set(re.findall(r"[\w.-]+", declared["expression"])) - {"AND", "OR"}
        assert named, component["name"]
        assert named <= EXPECTED, f"{component['name']} is under {declared['expression']}"


def test_bill_of_materials_lists_the_model_with_its_digest(bom):
    (model,) = (each for each in bom["components"] if each["type"] == "machine-learning-model")
    manifest = (ROOT / "model_artifacts" / model["name"] / "manifest.json").read_bytes()
    assert model["hashes"][0]["content"] == sha256_of(manifest)
    files = {file["name"]: file["hashes"][0]["content"] for file in model["components"]}
    assert files == {name: file["sha256"] for name, file in json.loads(manifest)["files"].items()}
