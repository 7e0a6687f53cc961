"""The README's figures are the recorded results, and every section is written between its own markers."""

import json
import re
from dataclasses import replace

import pytest

from benchmarks.report import cost, readme, tables
from benchmarks.report.claims import OURS, strongest, strongest_at
from benchmarks.report.results import SENTENCES, Claim, Quality, Rate, Results, Speed, read_all
from handler.bulk.prices import GB_SECOND, REQUEST, VCPU_GB
from tests.emulator import ROOT
from tests.unit.benchmarks.machines import machine

MANIFEST = ROOT / "model_artifacts/all-MiniLM-L6-v2/manifest.json"
MONTH_HOURS = 730
# List prices, and sizes that other tests hold, which the text on costs names besides what is computed.
LISTED = """
    $4.00 per month $0.70 | 3.00 | 1.00 | 0.70 | 0.10 177 MB | 0.023 24 MB | 0.30 3, 3 6 5 | 0.50 0.03 1.7 kB 505 | 5.00
    5 % 100,000 | 730 hours $0.0000041667 `ProvisionedConcurrency=1` 8, 10 $1.00 $0.85 $4.50 2026 1769 10 ms S3
"""


def figures(text: str) -> set[str]:
    return set(re.findall(r"(?<![\w.-])\d[\d,.]*\d|(?<![\w.-])\d", text))


def section(heading: str) -> str:
    """Return the text of a section of the README, but for what is written between markers."""
    text = re.split(rf"^## {heading}$", readme.README.read_text(), flags=re.MULTILINE)[1]
    text = text.partition("\n## ")[0]
    return re.sub(r"<!-- make bench\S* writes from here -->.*?(<!-- to here -->|$)", "", text, flags=re.DOTALL)


def test_the_tables_are_the_recorded_results():
    results = read_all()
    assert readme.written() == readme.table(results)
    assert readme.written(readme.BEGIN, readme.DETAILS) == tables.details(results)


def test_every_figure_in_the_text_on_performance_is_that_of_the_model():
    quality = json.loads(MANIFEST.read_text())["quality"]
    text = section("Performance")
    known = {f"{value:.4f}" for value in numbers(quality)}
    assert figures(re.sub(r"all-MiniLM-\S+|int8|`.*?`", "", text)) <= known
    assert len(figures(text) & known) >= 3


def numbers(value: object) -> list[float]:
    if isinstance(value, dict):
        return [number for each in value.values() for number in numbers(each)]
    return [value] if isinstance(value, float) else []


def test_every_figure_in_the_text_on_costs_is_computed_or_listed():
    text = readme.README.read_text().split(readme.BEGIN)[1].split(readme.END)[1].partition("\n## How it works")[0]
    provisioned = VCPU_GB * 3600 * MONTH_HOURS * 0.0000041667
    computed = [provisioned, provisioned * 0.8, 1e6 * 0.01 * VCPU_GB * GB_SECOND["x86_64"], 1e6 * REQUEST]
    known = {f"{each:.2f}" for each in computed}
    assert known <= figures(text)
    assert figures(text) - known <= figures(LISTED)


def results(ratio: float = 1.2, extension: str = "AVX2") -> Results:
    rates = {length: Rate(200, 100, ratio) for length in (SENTENCES, "8", "256")}
    own = {length: Rate(220, 100 * ratio, 1) for length in rates}
    speeds = (
        Speed(OURS, "", best=True, rates=own),
        Speed("fastembed", "", best=False, rates={SENTENCES: Rate(20, 10, 10)}),
        Speed("fastembed", "", best=True, rates={length: Rate(100, 50, 2 * ratio) for length in rates}),
        Speed("OpenVINO, int8", "sorted", best=True, rates=rates),
    )
    qualities = tuple(Quality(each.name, 0.99, None, depends=True) for each in speeds if each.best)
    return Results(machine(extension), speeds=speeds, qualities=qualities, limits={16: 1.5, 8: 1.5, 256: 1.5})


@pytest.mark.parametrize(
    ("extension", "target"), [("AMX", 1.5), ("AVX-512 VNNI", 1.5), ("AVX2", 1.3), ("AVX2 alone", 1.3)]
)
def test_the_strongest_peer_is_at_its_best_setting_and_the_target_is_the_processors(extension, target):
    sentences, short, long = strongest(results(1.2, extension))
    assert (sentences.value, sentences.target, sentences.met) == (1.2, target, False)
    assert (short.target, long.target, short.met) == (1.1, 1.1, True)
    assert sentences.detail == "120 vs. 100 texts/s, OpenVINO, int8; 1.80x if only the int8 products took time"


def test_a_processor_without_best_settings_claims_nothing_of_the_strongest_peer():
    measured = results()
    without = replace(measured, speeds=tuple(each for each in measured.speeds if each.name == OURS or not each.best))
    assert strongest_at(without, SENTENCES) is None
    assert strongest(without) == []


def test_the_summary_says_which_peer_is_faster_and_where():
    assert "is faster" not in tables.summary([results(1.2)])
    assert "**OpenVINO, int8 is faster** on mixed sentences (1.25 times ours), 8 tokens" in tables.summary(
        [results(0.8)]
    )


def test_a_price_is_for_openais_tokens_and_a_single_text_has_its_own_pace():
    bulk, single = (
        Speed(name, "", best=True, rates={SENTENCES: Rate(90, rate, 1), "256": Rate(9, rate, 1)})
        for name, rate in zip(("one worker", "one worker, one text per call"), (100, 50), strict=True)
    )
    measured = Results(machine(), tokens=(16, 7), speeds=(bulk, single), paths_ms={1: 1.0, 2048: 2048.0})
    assert cost.million(measured, SENTENCES, 1) == cost.price("x86_64", 7, 1, 50, 1)
    assert cost.million(measured, "256", 256) == cost.price("x86_64", 254 / 2, 256, 100, 256)
    assert cost.million(replace(measured, speeds=(bulk,)), SENTENCES, 1) is None


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
    assert price == requests * (seconds * 1769 / 1024 * 0.0000166667 + 0.0000002)


def test_arm64_costs_a_fifth_less_for_the_same_time():
    one, other = (cost.price(architecture, 256, 256, 50, 10) for architecture in ("x86_64", "arm64"))
    assert 0.79 < other / one < 0.81
