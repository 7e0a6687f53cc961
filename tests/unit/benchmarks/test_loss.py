"""docs/output-types.md and the README say what the bundled model's manifest records."""

import re
from xml.etree import ElementTree as ET

from benchmarks.report import loss, readme


def test_table_and_plot_are_those_of_the_manifest():
    recorded = loss.read()
    assert readme.written(loss.BEGIN, loss.PAGE) == loss.table(recorded)
    assert loss.PLOT.read_text() == loss.plot(recorded)


def test_plot_has_a_line_for_each_type_and_score():
    lines = ET.fromstring(loss.PLOT.read_text()).findall("{*}polyline")  # noqa: S314 - our own file
    sizes = loss.read()["spearman"]["float"]
    assert [len(line.attrib["points"].split()) for line in lines] == 2 * len(loss.BITS) * [len(sizes)]


def test_retrieval_set_has_as_many_texts_as_the_page_says():
    recorded = loss.read()
    assert f"{recorded['queries']} queries and {recorded['documents']} documents" in loss.PAGE.read_text()


def test_readme_says_what_fewer_dimensions_cost():
    recorded = loss.read()
    section = readme.README.read_text().split("### What do fewer `dimensions` cost?")[1].split("\n### ")[0]
    rows = [re.findall(r"[\d.]+", line) for line in section.splitlines() if line.startswith("|")]
    sizes, losses, bits = rows[0], rows[2], rows[3]
    assert sizes == list(recorded["spearman"]["float"])
    assert losses == [f"{value:.4f}" for value in recorded["spearman"]["float"].values()]
    assert bits == [f"{value:.4f}" for value in recorded["spearman"]["binary"].values()]
