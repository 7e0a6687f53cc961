"""The README's figures are the recorded results, and every section is written between its own markers."""

from benchmarks.report import cost, readme
from benchmarks.report.results import Claim, Results


def test_readme_table_matches_the_recorded_results():
    assert readme.written() == readme.table(Results.read())


def test_readme_says_that_lambda_was_not_measured_until_it_was():
    assert readme.written(readme.BEGIN_LAMBDA).startswith(("Not measured yet", "`make bench-lambda`, "))


def test_section_is_replaced_up_to_its_own_end(monkeypatch, tmp_path):
    copy = tmp_path / "README.md"
    copy.write_text(readme.README.read_text())
    monkeypatch.setattr(readme, "README", copy)
    other = readme.written()
    readme.replace(readme.BEGIN_LAMBDA, "a table")
    assert readme.written(readme.BEGIN_LAMBDA) == "a table"
    assert readme.written() == other
    assert copy.read_text().count(readme.END) == 2


def test_claim_is_compared_with_its_limit_in_the_right_direction():
    assert Claim("rate", 4.2, "x", "≥", 4, "").met
    assert not Claim("rate", 3.9, "x", "≥", 4, "").met
    assert Claim("time", 0.9, " ms", "≤", 1, "").met
    assert not Claim("time", 1.1, " ms", "≤", 1, "").met
    assert Claim("reported", 0.1, "x", "≥", None, "").met


def test_claim_formats_its_figure_and_its_limit():
    missed, met = Claim("rate", 3.9, "x", "≥", 4, ""), Claim("rate", 4.1, "x", "≥", 4, "")
    assert (missed.figure, missed.limit) == ("3.90x", "≥ 4x")
    assert met.figure == "4.10x"


def test_price_is_for_a_million_tokens():
    price = cost.price("x86_64", tokens=10, texts=100, texts_per_second=500, around_ms=0.5)
    seconds, requests = 0.201, 1000  # rounded up to a millisecond
    assert price.dollars == requests * (seconds * 1769 / 1024 * 0.0000166667 + 0.0000002)


def test_arm64_costs_a_fifth_less_for_the_same_time():
    one, other = (cost.price(architecture, 256, 256, 50, 10) for architecture in ("x86_64", "arm64"))
    assert 0.79 < other.dollars / one.dollars < 0.81
