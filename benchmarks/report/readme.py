"""The measured tables of the README and of benchmarks/README.md, from benchmarks/report/results/; a test compares them.

python -m benchmarks.report.readme writes the tables and the plot
"""

import re
from pathlib import Path

from benchmarks.report import tables
from benchmarks.report.claims import bests
from benchmarks.report.results import Results, read_all
from tests.emulator import ROOT

README = ROOT / "README.md"
DETAILS = ROOT / "benchmarks/README.md"
PLOT = "benchmarks/report/results.png"
BEGIN, END = "<!-- make bench writes from here -->", "<!-- to here -->"
BEGIN_LAMBDA = "<!-- make bench-lambda writes from here -->"


def main() -> None:
    """Write the tables and the plot of the stored results."""
    from benchmarks.report.plot import draw

    results = read_all()
    replace(BEGIN, table(results))
    replace(BEGIN, tables.details(results), DETAILS)
    draw(results, ROOT / PLOT)


def replace(begin: str, text: str, page: Path | None = None) -> None:
    """Write a text after a marker of a page, by default the README, up to the next END."""
    page = page or README
    before, _, after = _parts(begin, page)
    page.write_text(f"{before}{begin}\n{text}\n{END}{after}", encoding="utf-8")


def written(begin: str = BEGIN, page: Path | None = None) -> str:
    """Return the text after a marker of a page, by default the README, up to the next END."""
    return _parts(begin, page or README)[1]


def _parts(begin: str, page: Path) -> tuple[str, str, str]:
    found = re.fullmatch(f"(.*){begin}\n(.*?)\n{END}(.*)", page.read_text(encoding="utf-8"), re.DOTALL)
    if not found:
        raise ValueError(f"{page} has no {begin} … {END}")
    return found[1], found[2], found[3]


def table(results: list[Results]) -> str:
    """Return the results as Markdown: the README from what they say to the prices."""
    measured = [each for each in results if bests(each)]
    parts = [tables.summary(measured), tables.claims(results)]
    parts += [tables.peers(each) for each in measured]
    parts += [tables.defaults(results), tables.requests(results), tables.prices(results)]
    return "\n\n".join(parts)


if __name__ == "__main__":
    main()
