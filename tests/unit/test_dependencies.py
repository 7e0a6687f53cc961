"""Every imported package is declared where the code runs, and not only a dependency of another package."""

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Packages whose modules have another name.
PACKAGES = {
    "PIL": "pillow",
    "haystack": "haystack-ai",
    "jwt": "pyjwt",
    "lightrag": "lightrag-hku",
    "llama_index": "llama-index-core",
    "mem0": "mem0ai",
    "pydantic_ai": "pydantic-ai-slim",
    "samcli": "aws-sam-cli",
    "samtranslator": "aws-sam-translator",
}


def names(requirements: list[str]) -> set[str]:
    """Return the normalized names of requirements, without versions, extras and comments."""
    found = (re.match(r"[\w.-]+", requirement) for requirement in requirements)
    return {normalized(match[0]) for match in found if match}


def normalized(name: str) -> str:
    """Return a package's name as PyPI compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def groups(project: str, *chosen: str) -> set[str]:
    """Return what a pyproject.toml declares: its dependencies, and those of some groups, but not of included ones."""
    content = tomllib.loads((ROOT / project / "pyproject.toml").read_text())
    declared = content["project"].get("dependencies", [])
    declared += [each for group in chosen for each in content["dependency-groups"][group] if isinstance(each, str)]
    return names(declared)


def files(pattern: str) -> set[str]:
    """Return what requirements files pin."""
    return {name for path in ROOT.glob(pattern) for name in names(path.read_text().splitlines())}


SHIPPED = groups(".", "native", "service")
INSTALLED = SHIPPED | groups(".", "local")  # by make setup
DEVELOPED = INSTALLED | groups(".", "bulk", "dev")
RECIPE = INSTALLED | groups(".", "recipe")
ADDED = names(re.findall(r"--with (\S+)", (ROOT / "Makefile").read_text()))
CLIENTS = [path.parent.name for path in ROOT.glob("tests/clients/*/__init__.py")]
# Modules that stay out of the image.
LOCAL = re.findall(r"^handler/.+\.py$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
# A folder or file to the packages of the environments that it runs in; the longest one that fits counts.
DECLARED = {
    "handler": SHIPPED,
    **dict.fromkeys(LOCAL, INSTALLED),
    **dict.fromkeys(["handler/bulk", *(each for each in LOCAL if "/bulk/" in each)], INSTALLED | groups(".", "bulk")),
    "model_artifacts/recipe": RECIPE,
    "model_artifacts/recipe/publish.py": INSTALLED,
    "model_artifacts/recipe/golden.py": RECIPE | files("model_artifacts/recipe/golden-requirements.txt"),
    "layers": set(),
    "tests": DEVELOPED,
    "tests/unit/recipe/references": DEVELOPED | files("model_artifacts/recipe/golden-requirements.txt"),
    "tests/bulk": groups("tests/bulk") | DEVELOPED,
    "tests/clients": groups("tests/clients", "base"),
    **{f"tests/clients/{group}": groups("tests/clients", "base", group) for group in CLIENTS},
    "tests/deploy": groups("tests/deploy") | DEVELOPED,  # tests/deploy/verify.py runs with the project's own packages
    "tests/infra": groups("tests/infra", "sam"),
    "tests/page": groups("tests/page"),
    "benchmarks": DEVELOPED | RECIPE | ADDED,
    "benchmarks/peers": DEVELOPED | RECIPE | ADDED | files("benchmarks/peers/*.txt"),
}
SOURCES = [
    path.relative_to(ROOT)
    for folder in ("handler", "model_artifacts", "layers", "tests", "benchmarks")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if not any(part.startswith((".venv", "node_modules")) for part in path.parts)
]


def imported(source: Path) -> set[str]:
    """Return the packages that a file imports, but for Python's own and the project's."""
    modules = set()
    for node in ast.walk(ast.parse((ROOT / source).read_text())):
        if isinstance(node, ast.Import):
            modules |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules.add(node.module.partition(".")[0])
    own = {module for module in modules if (ROOT / module).is_dir() or (ROOT / source).with_stem(module).exists()}
    return {PACKAGES.get(module, normalized(module)) for module in modules - own - sys.stdlib_module_names}


@pytest.mark.parametrize("source", SOURCES, ids=str)
def test_what_is_imported_is_declared(source):
    folder = max((each for each in DECLARED if source.is_relative_to(each)), key=len)
    assert imported(source) <= DECLARED[folder]


def test_imports_are_seen():
    assert {"fastapi", "starlette", "pydantic"} <= {name for source in SOURCES for name in imported(source)}
    assert imported(Path("handler/artifacts/s3.py")) == {"boto3", "botocore"}  # those in functions, too
