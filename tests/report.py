"""What the hardening tests saw, as Markdown, from their own record of a run: python -m tests.report JUNIT.xml."""

import os
import platform
import sys
from collections import Counter
from datetime import UTC, datetime
from xml.etree import ElementTree as ET

Rows = list[list[str]]


def main() -> None:
    """Print the report of a run in which nothing failed."""
    root = ET.parse(sys.argv[1]).getroot()  # noqa: S314 - pytest has just written it
    cases = root.findall(".//testcase")
    failed = [case for case in cases if case.find("failure") is not None or case.find("error") is not None]
    if failed:
        sys.exit(f"{len(failed)} tests failed: there is nothing to report yet")
    tried: Counter[str] = Counter()
    for name, count in recorded(cases, "tried"):
        tried[name] += int(count)
    modules = Counter((case.get("classname") or "").rpartition(".")[2] for case in cases)
    attempts = recorded(cases, "attempt")
    where = f"{os.cpu_count()} processors of {platform.machine()}, with Python {platform.python_version()}"
    sections = [
        "# Hardening",
        f"Written by `make report` on {datetime.now(UTC):%Y-%m-%d}, on {where}: {len(cases)} tests, none failed.",
        "Lost: nothing, but the answer of the one request whose process was killed.",
        "## Load",
        "\n".join(f"- {line}" for (line,) in recorded(cases, "load")),
        "Refused, half-sent and cancelled requests were among them. Many at once got the bits that each gets alone.",
        "## Faults",
        table(["fault", "what the caller saw"], recorded(cases, "fault")),
        "## Inputs",
        f"{sum(tried.values()):,} generated ones: no 5xx, no NaN, nothing uncaught.",
        f"{modules['test_bounds']} tests of limits: one below, at, and one above each.",
        table(["property", "inputs"], [[name[5:].replace("_", " "), f"{count:,}"] for name, count in tried.items()]),
        "## BackgroundLoader to get in",
        f"{len(attempts)} over loopback; those of headers and routes again in the events of three kinds of gateway.",
        "KEY is the one that is configured.",
        table(["attempt", "answer"], attempts),
    ]
    sys.stdout.write("\n\n".join(sections) + "\n")


def recorded(cases: list[ET.Element], name: str) -> Rows:
    """Return what the tests have recorded under a name, in the order of the words."""
    properties = [each for case in cases for each in case.iter("property") if each.get("name") == name]
    return sorted((each.get("value") or "").split("|") for each in properties)


def table(head: list[str], rows: Rows) -> str:
    """Return a table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    main()
