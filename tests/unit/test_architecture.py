"""The code's structure: imports between packages, lengths of files, and the only reader of the environment."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HANDLER = ROOT / "handler"
MODULES = sorted(path for path in HANDLER.rglob("*.py") if path.stem != "__init__")
PACKAGES = sorted(path.parent for path in HANDLER.glob("*/__init__.py"))

SHARED = {"errors", "settings", "telemetry"}  # every package may import these
# Each package, and each module directly in handler/, with the others that it may import.
ALLOWED_IMPORTS = {
    "local": {"main", "api", "contract", "models", "server", "worker", "console", "signals"},
    "main": {"api", "batches", "models", "lambda_events"},
    "bulk": {"batches", "contract", "storage", "models", "embedding", "artifacts", "signals"},
    "api": {"batches", "storage", "lambda_events", "contract", "models", "embedding", "artifacts"},
    "server": {"connections", "signals"},
    "worker": set(),
    "batches": {"contract", "storage"},
    "connections": set(),
    "console": set(),
    "signals": set(),
    "lambda_events": set(),
    "contract": {"embedding", "artifacts"},
    "storage": set(),
    "models": {"embedding", "artifacts"},
    "embedding": {"artifacts"},
    "artifacts": set(),
    "telemetry": set(),
    "settings": set(),
    "errors": set(),
}


def imported_modules(path: Path) -> set[str]:
    """Return the modules a file imports: `from handler import main` and `import handler.main` as `handler.main`."""
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


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(HANDLER.parent).with_suffix("").parts)


def listed_modules(package: Path) -> list[str]:
    """Return the modules and packages that a package's docstring lists, in its order."""
    docstring = ast.get_docstring(ast.parse((package / "__init__.py").read_text())) or ""
    return re.findall(r"^ *(\w+)(?:\.py|/) ", docstring, re.MULTILINE)


@pytest.mark.parametrize("package", [HANDLER, *PACKAGES], ids=lambda path: path.name)
def test_a_package_docstring_lists_every_module(package):
    modules = {path.stem for path in package.glob("*.py")} | {
        path.parent.name for path in package.glob("*/__init__.py")
    }
    assert sorted(listed_modules(package)) == sorted(modules - {"__init__"})
    (statement,) = ast.parse((package / "__init__.py").read_text()).body  # the docstring, and nothing else
    assert isinstance(statement, ast.Expr)


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_modules_import_only_allowed_packages(path):
    _, package, *_ = module_name(path).split(".")
    for module in imported_modules(path):
        assert not module.startswith(("model_artifacts", "tests", "benchmarks"))
        if module.startswith("handler."):
            target = module.split(".")[1]
            assert target == package or target in ALLOWED_IMPORTS[package] | SHARED, f"{path} imports {module}"


@pytest.mark.parametrize("path", [path for path in MODULES if path.parent != HANDLER], ids=module_name)
def test_modules_import_only_modules_listed_after_them_in_their_package(path):
    order = listed_modules(path.parent)
    package = module_name(path).rpartition(".")[0]
    for module in imported_modules(path):
        if module.startswith(f"{package}."):
            assert order.index(path.stem) < order.index(module.removeprefix(f"{package}.")), f"{path} imports {module}"


def test_allowed_imports_are_acyclic():
    order = list(ALLOWED_IMPORTS)
    assert all(order.index(package) < order.index(target) for package in order for target in ALLOWED_IMPORTS[package])


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_modules_have_at_most_250_lines(path):
    assert len(path.read_text().splitlines()) <= 250


def test_unit_tests_mirror_the_packages():
    unit = HANDLER.parent / "tests/unit"
    for package in PACKAGES:
        for path in (unit / package.name).glob("test_*.py"):
            assert (package / path.name.removeprefix("test_")).exists(), f"{path} tests no module of {package}"


def test_only_settings_reads_the_environment():
    reading = re.compile(r"getenv|os\.environ(?!\[.*\] = )|\benviron\[(?!.*\] = )")
    readers = {path.stem for path in MODULES if reading.search(path.read_text())}
    assert readers == {"main", "commands", "batch_desk", "settings"}  # which the others call


CODE = ("handler", "benchmarks", "model_artifacts", "tests", "layers")


def prose(source: str) -> Iterator[str]:
    """Yield the docstrings and comments of a file."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield ast.get_docstring(node) or ""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.string


def mentioned_modules(text: str) -> tuple[set[str], set[str]]:
    """Return the paths, such as `handler/main.py`, and the dotted names, such as `handler.main`, in a text."""
    dotted = re.findall(rf"(?<![\w./])(?:{'|'.join(CODE)})(?:\.\w+)+", text)
    return set(re.findall(r"[\w/-]+\.py\b", text)), set(dotted)


def is_module(dotted: str) -> bool:
    """Return whether a dotted name is a package, a module, or a name that occurs in a module."""
    path = ROOT
    for index, part in enumerate(names := dotted.split(".")):
        path /= part
        if not path.is_dir():
            module = path.with_suffix(".py")
            return module.is_file() and set(names[index + 1 :]) <= set(re.findall(r"\w+", module.read_text()))
    return True


def unknown_modules(path: Path) -> list[str]:
    """Return the modules that a file mentions and that exist neither in its folder, nor above it, nor in handler/."""
    folders = [HANDLER, *(folder for folder in path.parents if folder.is_relative_to(ROOT))]
    unknown = []
    for text in prose(path.read_text()):
        paths, dotted = mentioned_modules(text)
        unknown += [name for name in paths if not any((folder / name).is_file() for folder in folders)]
        unknown += [name for name in dotted if not is_module(name)]
    return unknown


def test_docstrings_and_comments_mention_only_modules_that_exist():
    files = [path for folder in CODE for path in (ROOT / folder).rglob("*.py")]
    own = [path for path in files if not any(part.startswith(".") for part in path.relative_to(ROOT).parts)]
    assert {str(path): names for path in own if (names := unknown_modules(path))} == {}


def test_mentions_in_docstrings_and_comments_are_found():
    source = '"""See api/gone.py and handler.main."""\n\n\ndef f():\n    """See gone.py."""  # handler.gone\n'
    found = [mentioned_modules(text) for text in prose(source)]
    assert found == [({"api/gone.py"}, {"handler.main"}), ({"gone.py"}, set()), (set(), {"handler.gone"})]
    assert is_module("handler.main.lambda_handler")
    assert not is_module("handler.main.no_such_name")
    assert not is_module("handler.gone")
