"""A bulk job on paper: docs/bulk.md has the command's tables, and the formula agrees with a simulation."""

import heapq

import pytest

from benchmarks.bulk import EXPRESS_START_RATE, TEXTS, Job, texts_per_second
from benchmarks.report import bulk, readme
from benchmarks.report.cost import BATCH, ONE_WORKER
from benchmarks.report.results import of_pace
from handler.bulk.prices import (
    CHILD_TRANSITIONS,
    EXPRESS_REQUEST,
    EXPRESS_SECOND,
    GB_SECOND,
    SHARD_SECONDS,
    START_RATE,
    STEP_SECONDS,
    TRANSITION,
    VCPU_GB,
    Usage,
)
from handler.bulk.rows import SHARD_BYTES


def simulated_seconds(job: Job, concurrency: int) -> float:
    """Start shards one by one, as soon as the rate of starts and a free environment allow."""
    running: list[float] = []
    start = -1 / START_RATE
    for _ in range(job.shards):
        start += 1 / START_RATE
        if len(running) == concurrency:
            start = max(start, heapq.heappop(running))
        heapq.heappush(running, start + job.usage.shard_seconds)
    return max(running)


def test_the_page_has_the_tables_of_the_command():
    assert readme.written(bulk.BEGIN, bulk.PAGE) == bulk.tables()


@pytest.mark.parametrize("concurrency", [1, 7, 500, 10_000])
@pytest.mark.parametrize(("texts", "tokens"), [(1_000_000, 64), (100_000_000, 64), (100_000_000, 16), (15_000, 256)])
def test_the_formula_is_a_simulation_of_starts(texts, tokens, concurrency):
    job = Job(texts, tokens)
    assert job.usage.map_seconds(concurrency) == pytest.approx(simulated_seconds(job, concurrency))


def test_the_pace_is_the_measured_one():
    measured = of_pace().lengths(ONE_WORKER[BATCH])
    assert texts_per_second(64) == pytest.approx(measured[64])
    assert measured[64] < texts_per_second(48) < measured[32]


def test_a_shard_keeps_a_map_run_busy_and_ends_in_time():
    job = Job(TEXTS[-1])
    assert job.busy() >= 10_000  # the most children that a Map Run may have
    assert Job(TEXTS[-1], shard_rows=10_000).busy() < 10_000
    assert Job(TEXTS[-1], tokens=256).usage.shard_seconds < 900 / 2
    assert EXPRESS_START_RATE > START_RATE


def test_the_bill_is_the_sum_of_what_is_used():
    usage = Usage(shards=10, parts=0, seconds=1000)
    compute, requests, transitions, *rest = usage.bill()
    assert compute.dollars == pytest.approx((1000 + 10 * 2 + STEP_SECONDS) * VCPU_GB * GB_SECOND["x86_64"])
    assert (requests.quantity, transitions.quantity) == (13, 29)
    assert transitions.dollars == 29 * TRANSITION
    assert usage.dollars() == sum(item.dollars for item in usage.bill()) > sum(item.dollars for item in rest)
    assert usage.dollars("arm64") < usage.dollars()


def test_the_figures_in_the_text_are_those_of_the_model():
    page, introduction = bulk.PAGE.read_text(), readme.README.read_text()
    job = Job(10_000_000)
    assert f"about ${job.usage.dollars():.2f} on AWS and take two minutes with 500 environments" in introduction
    assert 120 <= job.usage.duration(500) < 150
    assert f"take {job.usage.shard_seconds:.0f} seconds." in page
    half = Job(TEXTS[-1], shard_rows=10_000).busy()
    assert f"{half:,} environments busy at most" in page.replace("\n", " ")
    one_byte_tokens = SHARD_BYTES / 256 / texts_per_second(256) + SHARD_SECONDS
    assert f"{one_byte_tokens:.0f} seconds" in page
    even = (CHILD_TRANSITIONS * TRANSITION - EXPRESS_REQUEST) / EXPRESS_SECOND
    assert f"from {even:.0f} seconds on" in page
    longest = Job(TEXTS[-1])
    assert f"of {longest.usage.duration(10_000) / 60:.0f} minutes" in page
    assert f"{TEXTS[-1] * 384 * 4 / 1e12:.1f} TB" in page
