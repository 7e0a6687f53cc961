"""The tables and the plot of `python -m benchmarks.bulk`, in docs/bulk.md; a test compares the tables."""

from collections.abc import Sequence
from typing import Any

from benchmarks import bulk
from benchmarks.bulk import CONCURRENCIES, LENGTHS, TEXTS, USUAL_LENGTH, Job
from benchmarks.report import readme
from handler.bulk.prices import (
    CHILD_TRANSITIONS,
    EXPRESS_REQUEST,
    EXPRESS_SECOND,
    GB_SECOND,
    MERGE_GETS,
    PART_GETS,
    PART_PUTS,
    PART_SECONDS,
    PARTS_AT_ONCE,
    SHARD_GETS,
    SHARD_PUTS,
    START_RATE,
    TRANSITION,
    VCPU_GB,
)
from tests.emulator import ROOT

PAGE, PLOT = ROOT / "docs/bulk.md", ROOT / "docs/bulk.png"
BEGIN = "<!-- python -m benchmarks.bulk writes from here -->"
DOCS = "https://docs.aws.amazon.com"
QUOTAS = f"[Step Functions]({DOCS}/step-functions/latest/dg/service-quotas.html)"
READER = f"[ItemReader]({DOCS}/step-functions/latest/dg/input-output-itemreader.html)"
LAMBDA = f"[Lambda]({DOCS}/lambda/latest/dg/gettingstarted-limits.html)"
SCALING = f"[Lambda]({DOCS}/lambda/latest/dg/scaling-behavior.html)"
S3 = f"[S3]({DOCS}/AmazonS3/latest/userguide/optimizing-performance.html)"
MOST, WIDEST = TEXTS[-1], CONCURRENCIES[-1]
SHARD_ROWS = (1_000, 5_000, 10_000, 20_000, 40_000, 100_000)
CHILD_SECONDS = (10, 30, 60, 100, 200, 300)


def write() -> None:
    """Write the tables between their markers, and draw the plot."""
    readme.replace(BEGIN, tables(), PAGE)
    _draw()


def tables() -> str:
    """Return all tables as Markdown."""
    sections = {
        "Time by the number of environments, and the price on x86_64:": _times(),
        "The price by item:": _bill(),
        "Ten million texts by their length:": _lengths(),
        f"A billion texts of {USUAL_LENGTH} tokens in shards of other sizes, 8 MB at most:": _shard_sizes(),
        "Children of a Map Run by their duration:": _children(),
        "Limits of AWS, and what the largest run needs of them:": _limits(),
    }
    return "\n\n".join(f"{caption}\n\n{table}" for caption, table in sections.items())


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in (head, *rows)]
    return "\n".join([lines[0], "|---" * len(head) + "|", *lines[1:]])


def _duration(seconds: float) -> str:
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"


def _dollars(dollars: float) -> str:
    return f"{dollars:,.2f}" if dollars >= 0.01 else f"{dollars:.4f}"


def _times() -> str:
    rows = [
        (
            f"{texts:,}",
            *(_duration(Job(texts).usage.duration(each)) for each in CONCURRENCIES),
            _dollars(_cost(Job(texts))),
        )
        for texts in TEXTS
    ]
    head = (f"texts of {USUAL_LENGTH} tokens", *(f"{each:,} environments" for each in CONCURRENCIES), "dollars")
    return _table(head, rows)


def _cost(job: Job) -> float:
    return job.usage.dollars()


def _bill() -> str:
    bills = [Job(texts).usage.bill() for texts in TEXTS]
    rows = [
        (f"{items[0].name}, {items[0].unit}", *(f"{item.quantity:,.0f} = ${_dollars(item.dollars)}" for item in items))
        for items in zip(*bills, strict=True)
    ]
    return _table(("item", *(f"{texts:,} texts" for texts in TEXTS)), rows)


def _lengths() -> str:
    jobs = [Job(10_000_000, tokens) for tokens in LENGTHS]
    rows = [
        (
            str(job.tokens),
            f"{bulk.texts_per_second(job.tokens):.0f}",
            f"{job.rows:,}",
            _duration(job.usage.shard_seconds),
            _duration(job.usage.duration(500)),
            _duration(job.usage.duration(WIDEST)),
            _dollars(_cost(job)),
            _dollars(job.usage.dollars("arm64")),
        )
        for job in jobs
    ]
    head = ("tokens", "texts/s of a vCPU", "rows of a shard", "a shard takes")
    return _table((*head, "10,000,000 texts at 500", f"at {WIDEST:,}", "dollars, x86_64", "arm64, as fast"), rows)


def _shard_sizes() -> str:
    rows = []
    for size in SHARD_ROWS:
        job, longest = Job(MOST, shard_rows=size), size / bulk.texts_per_second(LENGTHS[-1])
        work = job.usage.shard_seconds * VCPU_GB * GB_SECOND["x86_64"]
        rows.append(
            (
                f"{size:,}",
                _duration(job.usage.shard_seconds),
                f"{min(job.busy(), WIDEST):,}",
                f"{job.shards:,}",
                f"{CHILD_TRANSITIONS * TRANSITION / work:.1%}",
                _duration(job.usage.duration(WIDEST)),
                _duration(longest),
            )
        )
    head = ("rows", "seconds", "environments kept busy", f"shards of {MOST:,} texts", "transitions, of Lambda's price")
    return _table((*head, f"whole run at {WIDEST:,}", f"with {LENGTHS[-1]} tokens, of 15 min"), rows)


def _children() -> str:
    rows = [
        (str(seconds), f"{1000 * CHILD_TRANSITIONS * TRANSITION:.3f}", f"{1000 * _express(seconds):.3f}")
        for seconds in CHILD_SECONDS
    ]
    even = (CHILD_TRANSITIONS * TRANSITION - EXPRESS_REQUEST) / EXPRESS_SECOND
    table = _table(("seconds of a child", "1,000 STANDARD children, dollars", "1,000 EXPRESS children"), rows)
    return f"{table}\n\nEqual at {even:.0f} seconds."


def _express(seconds: float) -> float:
    return EXPRESS_REQUEST + seconds * EXPRESS_SECOND


def _limits() -> str:
    job = Job(MOST)
    parts = min(PARTS_AT_ONCE / PART_SECONDS, 1000)
    merged = job.shards / job.parts
    longest = _duration(Job(MOST, LENGTHS[-1]).usage.shard_seconds)
    rows = [
        ("children of a Map Run at a time", "10,000", f"{min(job.busy(), WIDEST):,}, **binds**", QUOTAS),
        ("STANDARD children started per second and Map Run", "100", f"{START_RATE:.0f}, **binds**", QUOTAS),
        ("EXPRESS children started per second and Map Run", "1,000", f"{parts:.0f} parts", QUOTAS),
        ("StartExecution per second", "150 or 300", "1 for the whole job: children do not count", QUOTAS),
        (
            "state transitions per second",
            "800 or 5,000 by region, less in a new account",
            f"{START_RATE * CHILD_TRANSITIONS:.0f}",
            QUOTAS,
        ),
        ("events of an execution", "25,000", "about 40; each child has its own history", QUOTAS),
        ("input or output of a state", "256 KiB", "about 200 bytes: a range, never a text", QUOTAS),
        ("Map Runs open at a time", "1,000", "1", QUOTAS),
        ("an EXPRESS child", "5 min", f"{PART_SECONDS:.0f} s for a part", QUOTAS),
        ("items of a Map Run", "100,000,000", f"{job.shards:,}", READER),
        ("file of items", "10 GB", f"about {job.shards * 150 / 1e6:.0f} MB", READER),
        (
            "an invocation",
            "15 min",
            f"{_duration(job.usage.shard_seconds)}; with {LENGTHS[-1]} tokens {longest}",
            LAMBDA,
        ),
        ("environments of an account", "1,000, by request more", f"{WIDEST:,}, **binds**", LAMBDA),
        ("environments added in 10 s", "1,000 per function", f"{10 * START_RATE:,.0f}, **binds**", SCALING),
        (
            "PUT per second and prefix",
            "3,500",
            f"shards {START_RATE * SHARD_PUTS:.0f}, parts {parts * PART_PUTS:,.0f}",
            S3,
        ),
        (
            "GET per second and prefix",
            "5,500",
            f"shards {START_RATE * SHARD_GETS:.0f}, parts {parts * (PART_GETS + MERGE_GETS * merged):,.0f}",
            S3,
        ),
    ]
    return _table(("limit", "AWS's value", f"{MOST:,} texts with {WIDEST:,} environments", "source"), rows)


def _draw() -> None:
    import matplotlib as mpl
    from matplotlib import pyplot as plt

    from benchmarks.report.plot import GREY, INK

    mpl.use("agg")
    mpl.rcParams |= {"font.size": 11, "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": GREY}
    mpl.rcParams |= {"xtick.color": INK, "ytick.color": INK, "axes.spines.top": False, "axes.spines.right": False}
    figure, (times, prices) = plt.subplots(1, 2, figsize=(11, 4.2), width_ratios=(1.6, 1), layout="constrained")
    _draw_times(times)
    _draw_prices(prices)
    figure.savefig(PLOT, dpi=130, facecolor="white", metadata={"Software": None})


def _draw_times(axes: Any) -> None:
    shades = ("#b6d6f9", "#80b9f5", "#4c9cf0", "#0969da", "#0550ae", "#033d8b")
    for each, colour in zip(CONCURRENCIES, shades, strict=True):
        minutes = [Job(texts).usage.duration(each) / 60 for texts in TEXTS]
        axes.plot(TEXTS, minutes, color=colour, marker="o", linewidth=2, markersize=5, label=f"{each:,}")
    axes.set(xscale="log", yscale="log", xlabel=f"texts of {USUAL_LENGTH} tokens")
    axes.set_yticks([1, 10, 60, 600, 1440, 7200], ["1 min", "10 min", "1 h", "10 h", "1 day", "5 days"])
    axes.minorticks_off()
    axes.grid(axis="y", color="#d0d7de", linewidth=0.6)
    axes.legend(title="environments", frameon=False)
    axes.set_title("time of a run", loc="left", fontsize=12)


def _draw_prices(axes: Any) -> None:
    for tokens, colour in zip(LENGTHS, ("#d8b9ff", "#c297ff", "#0969da", "#8250df", "#512a97"), strict=True):
        dollars = [_cost(Job(texts, tokens)) for texts in TEXTS]
        axes.plot(TEXTS, dollars, color=colour, marker="o", linewidth=2, markersize=5, label=f"{tokens} tokens")
    axes.set(xscale="log", yscale="log", xlabel="texts")
    axes.yaxis.set_major_formatter("${x:,.2f}")
    axes.minorticks_off()
    axes.grid(axis="y", color="#d0d7de", linewidth=0.6)
    axes.legend(frameon=False)
    axes.set_title("price of a run, x86_64", loc="left", fontsize=12)
