"""The commands in the documents: valid shell, and with parameters that the template has."""

import re
import subprocess

import pytest
from samcli.yamlhelper import yaml_parse
from stack import ROOT, TEMPLATE

BLOCKS = [
    pytest.param(block, id=f"{path.name}:{number}")
    for path in (ROOT / "docs").glob("*.md")
    for number, block in enumerate(re.findall(r"^```bash\n(.+?)^```", path.read_text(), re.MULTILINE | re.DOTALL))
]
DOCUMENTS = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])


@pytest.mark.parametrize("block", BLOCKS)
def test_shell_blocks_are_valid(block):
    done = subprocess.run(["bash", "-n"], input=block, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_buildspec_is_valid_yaml():
    (buildspec,) = re.findall(
        r"<<BUILDSPEC\n(.+?)^BUILDSPEC", (ROOT / "docs/deploy-without-docker.md").read_text(), re.MULTILINE | re.DOTALL
    )
    commands = yaml_parse(buildspec)["phases"]["build"]["commands"]
    assert [command.split()[1] for command in commands if command.startswith("sam")] == ["build", "deploy"]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_overrides_name_parameters_of_the_template(path):
    parameters = yaml_parse(TEMPLATE)["Parameters"]
    for overrides in re.findall(r"--parameter-overrides((?:\s+\w+=\S+)+)", path.read_text()):
        assert {each.split("=")[0] for each in overrides.split()} <= set(parameters)
