"""The README's plot: our pace and the peers' at their best by text length, for each processor, and cold starts."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.peers import settings
from benchmarks.report.claims import OURS, bests
from benchmarks.report.results import SENTENCES, Results

INK, GREY = "#1f2328", "#8c959f"
COLOURS = {
    OURS: "#0969da",
    settings.OPENVINO_INT8: "#cf222e",
    settings.PLAIN: "#bc4c00",
    settings.CTRANSLATE2: "#9a6700",
    settings.FASTEMBED_INT8: "#1b7c83",
    settings.OPENVINO: "#bf3989",
    settings.FASTEMBED: "#8250df",
    settings.SENTENCE_TRANSFORMERS: "#1a7f37",
}
BARS = {
    "baseline": ("baseline", GREY),
    "ours": ("serverless-\nembeddings", COLOURS[OURS]),
    "typical": ("typical\nfunction", GREY),
}
MAX_LABELS = 17  # lines of text in the height of a panel


def draw(results: Sequence[Results], path: Path) -> None:
    """Draw a panel for each processor with best settings, and one of the first measured cold starts."""
    import matplotlib as mpl
    from matplotlib import pyplot as plt

    mpl.use("agg")
    mpl.rcParams |= {"font.size": 11, "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": GREY}
    mpl.rcParams |= {"xtick.color": INK, "ytick.color": INK, "axes.spines.top": False, "axes.spines.right": False}
    measured = [each for each in results if bests(each)]
    ratios = (*(2.6 for _ in measured), 1)
    size = (5.4 * len(measured) + 2.6, 4.6)
    figure, panels = plt.subplots(1, len(ratios), figsize=size, width_ratios=ratios, layout="constrained")
    for axes, each in zip(panels, measured, strict=False):
        _draw_rates(axes, each)
    _draw_cold(panels[-1], next(each for each in [*measured, *results] if each.cold_ms))
    figure.savefig(path, dpi=130, facecolor="white", metadata={"Software": None})


def _draw_rates(axes: Any, results: Results) -> None:
    """Draw thousands of tokens per second of processor time: texts per second would be lines without a difference."""
    curves = {}
    for name in COLOURS:
        speed = results.speed(name)
        assert speed
        curves[name] = {int(length): rate for length, rate in speed.rates.items() if length != SENTENCES}
    lengths = list(curves[OURS])
    ends = {}
    for name, rates in curves.items():
        tokens = [length * (rate.cpu or 0) / 1000 for length, rate in rates.items()]
        ends[name] = tokens[-1]
        width = 3 if name == OURS else 1.8
        axes.plot(lengths, tokens, color=COLOURS[name], marker="o", linewidth=width, markersize=width + 2)
    axes.set(xscale="log", xlim=(lengths[0] * 0.9, lengths[-1] * 9), xlabel="tokens per text")
    axes.set_ylim(bottom=0)
    axes.set_xticks(lengths, [str(length) for length in lengths])
    axes.minorticks_off()
    axes.grid(axis="y", color="#d0d7de", linewidth=0.6)
    axes.set_title(f"{results.machine.title}\nthousand tokens per second of processor time", loc="left", fontsize=11)
    for name, place in _spread(ends, axes.get_ylim()[1]).items():
        axes.text(lengths[-1] * 1.15, place, name, color=COLOURS[name], va="center", fontweight="bold", fontsize=9.5)


def _spread(ends: dict[str, float], height: float) -> dict[str, float]:
    """Return label positions that do not overlap, moved up from the ends of the curves."""
    placed: dict[str, float] = {}
    lowest = -math.inf
    for name, value in sorted(ends.items(), key=lambda item: item[1]):
        placed[name] = max(value, lowest)
        lowest = placed[name] + height / MAX_LABELS
    return placed


def _draw_cold(axes: Any, results: Results) -> None:
    values = [results.cold_ms[way] for way in BARS]
    places = range(len(BARS))
    axes.bar(places, values, color=[colour for _, colour in BARS.values()], width=0.62)
    for place, value in zip(places, values, strict=True):
        axes.text(place, value, f"{value:,.0f}", ha="center", va="bottom", fontweight="bold")
    axes.set_xticks(places, [label for label, _ in BARS.values()], fontsize=9)
    axes.tick_params(axis="x", length=0)
    axes.yaxis.set_visible(False)
    axes.spines["left"].set_visible(False)
    axes.set_title(f"{results.machine.title}\ncold start, ms", loc="left", fontsize=11)
