"""`make golden` runs in an environment of its own, with what golden-requirements.txt lists."""

import re
import subprocess
import sys

from tests.emulator import ROOT, clean_environment

REQUIREMENTS = ROOT / "model_artifacts/recipe/golden-requirements.txt"
REQUIRED_BY_THOSE = {"numpy", "safetensors"}  # by sentence-transformers


def test_the_environment_has_what_the_step_imports():
    script = """
import sys
import model_artifacts.recipe.golden
print(*{name.partition(".")[0] for name in sys.modules} - sys.stdlib_module_names)
"""
    unmeasured = {name: value for name, value in clean_environment().items() if not name.startswith("COVERAGE")}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=ROOT, env=unmeasured, capture_output=True, text=True, check=True)
    listed = set(re.findall(r"^[a-z-]+", REQUIREMENTS.read_text(), re.MULTILINE))
    imported = {name for name in done.stdout.split() if not name.startswith("_")}
    assert imported - {"handler", "model_artifacts"} <= listed | REQUIRED_BY_THOSE
    assert "orjson" in imported
