"""The table of concurrent clients is the measured figures, and the best setting of a peer counts."""

import json

from benchmarks import concurrent
from benchmarks.concurrent import Load
from benchmarks.report import readme
from benchmarks.service import INFINITY, OURS


def test_page_has_the_measured_figures():
    results = json.loads(concurrent.RESULTS.read_text())
    assert [row["clients"] for row in results["clients"]] == list(concurrent.CLIENTS)
    assert readme.written(concurrent.BEGIN, concurrent.README) == concurrent.table(results)


def test_best_setting_of_the_peer_counts():
    def loads(*rates: float) -> list[Load]:
        return [Load(rate, 1, 2, 3, 4) for rate in rates]

    measured = {16: {OURS: loads(30, 40, 50), INFINITY: loads(10, 10, 10), f"{INFINITY} --dtype x": loads(9, 20, 25)}}
    (row,) = concurrent.report(measured)
    assert (row["best"], row["ratio"], row["ours"]["rate"], row["theirs"]["rate"]) == (
        f"{INFINITY} --dtype x",
        2,
        40,
        20,
    )
