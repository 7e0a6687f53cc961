"""The README's measured tables, generated from benchmarks/report/results.json; a test compares the two.

python -m benchmarks.report.readme writes the tables and the plot
"""

import re
from pathlib import Path

from benchmarks import throughput
from benchmarks.report import cost
from benchmarks.report.results import Results
from tests.emulator import ROOT

README = ROOT / "README.md"
PLOT = "benchmarks/report/results.png"
BEGIN, END = "<!-- make bench writes from here -->", "<!-- to here -->"
BEGIN_LAMBDA = "<!-- make bench-lambda writes from here -->"


def main() -> None:
    """Write the tables and the plot of the committed results."""
    write(Results.read())


def write(results: Results) -> None:
    """Write the tables between their markers, and draw the plot."""
    from benchmarks.report.plot import draw

    replace(BEGIN, table(results))
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


def table(results: Results) -> str:
    """Return the results as Markdown: the README from its targets to the prices."""
    return "\n\n".join((_claims(results), _rates(results), _requests(results), _prices(results)))


def _claims(results: Results) -> str:
    machine = results.machine
    packages = ", ".join(f"{name} {version}" for name, version in machine.packages.items())
    context = (
        f"`make bench`, {results.date}: {machine.cores} cores of an {machine.processor}, Python {machine.python}, "
        f"{packages}; {results.texts}. The machine is shared and noisy (load average {machine.load:.1f} before "
        "the run)."
    )
    lines = [
        context,
        "",
        "| | measured | target | |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {claim.what} | **{claim.figure}**{'' if claim.met else ' (missed)'} | {claim.limit} | {claim.detail} |"
        for claim in results.claims
    ]
    return "\n".join(lines)


def _rates(results: Results) -> str:
    """Return texts per second: of sentences, and by length."""
    lengths = list(results.lengths[throughput.OURS])
    lines = [
        "| texts per second, in process | sentences | " + " | ".join(f"{tokens} tokens" for tokens in lengths) + " |",
        "|---" * (len(lengths) + 2) + "|",
    ]
    for name, rate in results.rates.items():
        row = " | ".join(f"{results.lengths[name][tokens]:.0f}" for tokens in lengths)
        lines.append(f"| {_label(name, results)} | {rate:.0f} | {row} |")
    return "\n".join(lines)


def _label(name: str, results: Results) -> str:
    if name == throughput.OURS:
        return f"{name}, {results.machine.cores} workers"
    return f"{throughput.OURS}, {name}" if name == throughput.OURS_ONE_WORKER else name


def _requests(results: Results) -> str:
    sizes = results.requests
    return "\n".join(
        (
            "| texts per request | " + " | ".join(str(each.texts) for each in sizes) + " |",
            "|---" * (len(sizes) + 1) + "|",
            "| sentences per second over HTTP | " + " | ".join(f"{each.texts_per_second:.0f}" for each in sizes) + " |",
            "| peak memory, MB | " + " | ".join(f"{each.peak_mb:.0f}" for each in sizes) + " |",
        )
    )


def _prices(results: Results) -> str:
    terms = (
        "Dollars per million tokens on Lambda at 1769 MB, warm, without API Gateway, at the list prices of us-east-1. "
        f"OpenAI lists text-embedding-3-small, a larger model, at ${cost.HOSTED:.2f} (both as known in November 2026). "
        "Assumed: a vCPU is as fast as a core of this machine, on arm64 too, which was not measured. The formula is in "
        "[benchmarks/report/cost.py](benchmarks/report/cost.py)."
    )
    lines = [
        "## Cost",
        "",
        terms,
        "",
        "| dollars per million tokens | x86_64 | arm64, assumed as fast |",
        "|---|---|---|",
    ]
    for tokens, texts in dict.fromkeys((price.tokens, price.texts) for price in results.prices):
        dollars = [price.dollars for price in results.prices if (price.tokens, price.texts) == (tokens, texts)]
        request = "1 text per request" if texts == 1 else f"{texts} texts per request"
        lines.append(
            f"| texts of {tokens:.0f} tokens, {request} | " + " | ".join(f"{each:.4f}" for each in dollars) + " |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
