"""The shape of the code, kept by a test: who imports whom, how long files are, and who reads the environment."""

import ast
import re
from pathlib import Path

import pytest

HANDLER = Path(__file__).parents[2] / "handler"
MODULES = sorted(path for path in HANDLER.glob("*.py") if path.stem != "__init__")
# The map in handler/__init__.py is the order: a module imports only from further down.
ORDER = [line.split(".py")[0].strip() for line in (HANDLER / "__init__.py").read_text().splitlines() if ".py  " in line]


def imported(path: Path) -> set[str]:
    """Return the modules a file imports, `from handler import x` and `import handler.x` both as `handler.x`."""
    modules = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == "handler":
            modules |= {f"handler.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            modules.add(node.module or "")
    return modules


def test_the_map_lists_every_module():
    assert sorted(ORDER) == [path.stem for path in MODULES]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_imports_point_one_way(path):
    for module in imported(path):
        assert not module.startswith(("model_artifacts", "tests", "benchmarks"))
        if module.startswith("handler."):
            assert ORDER.index(path.stem) < ORDER.index(module.removeprefix("handler.")), (
                f"{path.stem} imports {module}"
            )


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_files_stay_short(path):
    assert len(path.read_text().splitlines()) <= 250


def test_the_environment_is_read_in_one_place():
    reading = re.compile(r"getenv|os\.environ(?!\[.*\] = )|\benviron\[(?!.*\] = )")
    readers = {path.stem for path in MODULES if reading.search(path.read_text())}
    assert readers == {"main", "settings"}  # main hands it over, settings reads it
