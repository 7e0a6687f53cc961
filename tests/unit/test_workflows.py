"""The workflows call make targets that exist, those of .ci/run among them, and their jobs wait for jobs that exist."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WORKFLOWS = {path.name: path.read_text() for path in (ROOT / ".github/workflows").glob("*.yml")}
TARGETS = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))


def called(text: str) -> set[str]:
    """Return the make targets that a script or workflow calls, also by `matrix.target`."""
    text = re.sub("#.*", "", text)
    listed = re.findall(r"^ +target: \[(.*)\]", text, re.MULTILINE)
    return set(re.findall(r"\bmake (?:--silent )?([a-z][a-z-]*)", text)) | set(", ".join(listed).split(", ")) - {""}


def test_ci_calls_the_targets_of_the_local_script():
    local = called((ROOT / ".ci/run").read_text())
    assert "model" in local
    assert local - called(WORKFLOWS["ci.yml"]) == {"bench-instructions"}  # its record holds for one build of Python


def test_the_local_script_runs_every_tier_of_the_tests():
    makefile = (ROOT / "Makefile").read_text()
    targets = "|".join(called((ROOT / ".ci/run").read_text()))
    run = "".join(re.findall(rf"^(?:{targets})[:/].*\n(?:\t.*\n)*", makefile, re.MULTILINE))
    by_default = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]["testpaths"]
    assert "coverage run -m pytest $(parallel)\n" in run  # which runs the tests in the default folders
    tiers = {f"tests/{path.relative_to(ROOT / 'tests').parts[0]}" for path in (ROOT / "tests").rglob("test_*.py")}
    assert tiers - set(by_default) <= set(re.findall(r"tests/[a-z]+", run))


@pytest.mark.parametrize("name", WORKFLOWS)
def test_called_targets_exist(name):
    assert called(WORKFLOWS[name]) <= TARGETS


@pytest.mark.parametrize("name", WORKFLOWS)
def test_jobs_wait_for_jobs_that_exist(name):
    jobs = re.findall(r"^  ([a-z]+):$", WORKFLOWS[name].partition("\njobs:\n")[2], re.MULTILINE)
    assert jobs
    assert set(re.findall(r"^    needs: (.+)$", WORKFLOWS[name], re.MULTILINE)) <= set(jobs)
