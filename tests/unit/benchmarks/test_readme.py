"""The README says what was measured."""

from benchmarks.report import cost, readme
from benchmarks.report.results import Claim, Results


def test_readme_has_the_results_as_they_are():
    assert readme.written() == readme.table(Results.read())


def test_a_claim_is_held_against_its_bar_on_the_right_side():
    assert Claim("rate", 4.2, "x", "≥", 4, "").met
    assert not Claim("rate", 3.9, "x", "≥", 4, "").met
    assert Claim("time", 0.9, " ms", "≤", 1, "").met
    assert not Claim("time", 1.1, " ms", "≤", 1, "").met
    assert Claim("told", 0.1, "x", "≥", None, "").met


def test_a_missed_claim_is_said_to_be():
    missed, met = Claim("rate", 3.9, "x", "≥", 4, ""), Claim("rate", 4.1, "x", "≥", 4, "")
    assert (missed.figure, missed.limit) == ("3.90x", "≥ 4x")
    assert met.figure == "4.10x"


def test_price_of_a_million_tokens():
    price = cost.price("x86_64", tokens=10, texts=100, texts_per_second=500, around_ms=0.5)
    seconds, requests = 0.201, 1000  # rounded up to a millisecond
    assert price.dollars == requests * (seconds * 1769 / 1024 * 0.0000166667 + 0.0000002)


def test_arm64_costs_a_fifth_less_for_the_same_time():
    one, other = (cost.price(architecture, 256, 256, 50, 10) for architecture in ("x86_64", "arm64"))
    assert 0.79 < other.dollars / one.dollars < 0.81
