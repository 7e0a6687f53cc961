"""The code of the template's DeploymentHook, for tests to run."""

import re
from pathlib import Path
from textwrap import dedent
from typing import Any

TEMPLATE = Path(__file__).parents[1] / "template.yaml"


def deployment_hook() -> dict[str, Any]:
    """Run the inline code as Lambda does when it imports it; return its names."""
    (code,) = re.findall(r"ZipFile: \|\n((?: {10}.*\n|\n)+)", TEMPLATE.read_text())
    names: dict[str, Any] = {}
    exec(dedent(code), names)  # noqa: S102 - the project's own
    return names
