"""The structure of the code: which package imports which, the length of files, and who reads the environment."""

import ast
import re
from pathlib import Path

import pytest

HANDLER = Path(__file__).parents[2] / "handler"
MODULES = sorted(path for path in HANDLER.rglob("*.py") if path.stem != "__init__")
PACKAGES = sorted(path.parent for path in HANDLER.glob("*/__init__.py"))

SHARED = {"errors", "settings", "telemetry"}  # every package may import these
# A package, or a module directly in handler/, to the others that it may import.
ARROWS = {
    "local": {"main", "api", "models"},
    "main": {"api", "models", "lambda_events"},
    "api": {"lambda_events", "contract", "models", "embedding", "artifacts"},
    "lambda_events": set(),
    "contract": {"embedding"},
    "models": {"embedding", "artifacts"},
    "embedding": {"artifacts"},
    "artifacts": set(),
    "telemetry": set(),
    "settings": set(),
    "errors": set(),
}


def imports(path: Path) -> set[str]:
    """Return the modules a file imports, `from handler import x` and `import handler.x` both as `handler.x`."""
    modules = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            submodules = {
                name for name in names if HANDLER.parent.joinpath(*name.split(".")).with_suffix(".py").exists()
            }
            modules |= submodules or {node.module or ""}
    return modules


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(HANDLER.parent).with_suffix("").parts)


def listed(package: Path) -> list[str]:
    """Return the modules and packages that a package's docstring lists, in its order."""
    docstring = ast.get_docstring(ast.parse((package / "__init__.py").read_text())) or ""
    return re.findall(r"^ *(\w+)(?:\.py|/) ", docstring, re.MULTILINE)


@pytest.mark.parametrize("package", [HANDLER, *PACKAGES], ids=lambda path: path.name)
def test_a_package_docstring_lists_every_module(package):
    modules = {path.stem for path in package.glob("*.py")} | {
        path.parent.name for path in package.glob("*/__init__.py")
    }
    assert sorted(listed(package)) == sorted(modules - {"__init__"})
    (statement,) = ast.parse((package / "__init__.py").read_text()).body  # the docstring, and nothing else
    assert isinstance(statement, ast.Expr)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_follow_the_arrows(path):
    _, package, *_ = name_of(path).split(".")
    for module in imports(path):
        assert not module.startswith(("model_artifacts", "tests", "benchmarks"))
        if module.startswith("handler."):
            target = module.split(".")[1]
            assert target == package or target in ARROWS[package] | SHARED, f"{path} imports {module}"


@pytest.mark.parametrize("path", [path for path in MODULES if path.parent != HANDLER], ids=name_of)
def test_imports_within_a_package_point_down_its_list(path):
    order = listed(path.parent)
    package = name_of(path).rpartition(".")[0]
    for module in imports(path):
        if module.startswith(f"{package}."):
            assert order.index(path.stem) < order.index(module.removeprefix(f"{package}.")), f"{path} imports {module}"


def test_the_arrows_form_no_cycle():
    order = list(ARROWS)
    assert all(order.index(package) < order.index(target) for package in order for target in ARROWS[package])


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_files_stay_short(path):
    assert len(path.read_text().splitlines()) <= 250


def test_unit_tests_mirror_the_packages():
    unit = HANDLER.parent / "tests/unit"
    for package in PACKAGES:
        for path in (unit / package.name).glob("test_*.py"):
            assert (package / path.name.removeprefix("test_")).exists(), f"{path} tests no module of {package}"


def test_the_environment_is_read_in_one_place():
    reading = re.compile(r"getenv|os\.environ(?!\[.*\] = )|\benviron\[(?!.*\] = )")
    readers = {path.stem for path in MODULES if reading.search(path.read_text())}
    assert readers == {"main", "settings"}  # main hands it over, settings reads it
