"""The README's plot: texts per second by text length, and cold starts, of this project and of the peers."""

import math
from pathlib import Path
from typing import Any

from benchmarks import throughput
from benchmarks.report.results import Results

INK, GREY = "#1f2328", "#8c959f"
COLOURS = {
    throughput.OURS: "#0969da",
    throughput.FASTEMBED_INT8: "#bc4c00",
    throughput.FASTEMBED: "#8250df",
    throughput.SENTENCE_TRANSFORMERS: "#1a7f37",
}
BARS = {
    "baseline": ("baseline", GREY),
    "ours": ("serverless-\nembeddings", COLOURS[throughput.OURS]),
    "typical": ("typical\nfunction", GREY),
}
MAX_LABELS = 22  # lines of text in the height of the panel


def draw(results: Results, path: Path) -> None:
    """Draw both panels."""
    import matplotlib as mpl
    from matplotlib import pyplot as plt

    mpl.use("agg")
    mpl.rcParams |= {"font.size": 11, "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": GREY}
    mpl.rcParams |= {"xtick.color": INK, "ytick.color": INK, "axes.spines.top": False, "axes.spines.right": False}
    figure, (rates, cold) = plt.subplots(1, 2, figsize=(11, 4.2), width_ratios=(2.6, 1), layout="constrained")
    _draw_rates(rates, results)
    _draw_cold(cold, results)
    figure.savefig(path, dpi=130, facecolor="white", metadata={"Software": None})


def _draw_rates(axes: Any, results: Results) -> None:
    lengths = list(results.lengths[throughput.OURS])
    for name, colour in COLOURS.items():
        axes.plot(lengths, list(results.lengths[name].values()), color=colour, marker="o", linewidth=2, markersize=5)
    axes.set(xscale="log", yscale="log", xlim=(lengths[0] * 0.9, lengths[-1] * 5.2), xlabel="tokens per text")
    axes.set_xticks(lengths, [str(length) for length in lengths])
    axes.minorticks_off()
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.grid(axis="y", color="#d0d7de", linewidth=0.6)
    axes.set_title(f"texts per second, {results.machine.cores} cores, in process", loc="left", fontsize=12)
    low, high = axes.get_ylim()
    ends = {name: results.lengths[name][lengths[-1]] for name in COLOURS}
    for name, place in _spread(ends, math.log10(high / low)).items():
        axes.text(lengths[-1] * 1.12, place, name, color=COLOURS[name], va="center", fontweight="bold")


def _spread(ends: dict[str, float], height: float) -> dict[str, float]:
    """Return label positions that do not overlap, moved up from the ends of the curves; `height` is in decades."""
    placed: dict[str, float] = {}
    lowest = 0.0
    for name, value in sorted(ends.items(), key=lambda item: item[1]):
        placed[name] = max(value, lowest)
        lowest = placed[name] * 10 ** (height / MAX_LABELS)
    return placed


def _draw_cold(axes: Any, results: Results) -> None:
    values = [results.cold_ms[way] for way in BARS]
    places = range(len(BARS))
    axes.bar(places, values, color=[colour for _, colour in BARS.values()], width=0.62)
    for place, value in zip(places, values, strict=True):
        axes.text(place, value, f"{value:,.0f}", ha="center", va="bottom", fontweight="bold")
    axes.set_xticks(places, [label for label, _ in BARS.values()])
    axes.tick_params(axis="x", length=0)
    axes.yaxis.set_visible(False)
    axes.spines["left"].set_visible(False)
    axes.set_title("cold start, ms", loc="left", fontsize=12)
