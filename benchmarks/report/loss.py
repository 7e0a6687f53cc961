"""What the output types of the bundled model lose: the table and the plot of docs/output-types.md, from its manifest.

python -m benchmarks.report.loss writes both; a test compares them
"""

import json
import math
from typing import Any

from benchmarks.report import readme
from tests.emulator import ROOT

MANIFEST = ROOT / "model_artifacts/all-MiniLM-L6-v2/manifest.json"
PAGE, PLOT = ROOT / "docs/output-types.md", ROOT / "docs/output-types.svg"
BEGIN = "<!-- python -m benchmarks.report.loss writes from here -->"
SCORES = {"spearman": "Spearman", "recall_at_10": "recall@10"}
BITS = {"float": 32, "float16": 16, "int8": 8, "binary": 1}  # of a component; uint8 and ubinary lose the same
SAME = {"int8": "`int8`, `uint8`", "binary": "`binary`, `ubinary`"}
COLOURS = {"float": "#8c959f", "float16": "#bf8700", "int8": "#2f81f7", "binary": "#db61a2"}  # on white and on black
WIDTH, HEIGHT, LEFT, TOP, GAP = 330, 190, 46, 30, 50  # of a panel, and around the panels
STYLE = """<style>
text { font: 12px sans-serif; fill: #1f2328 } .axis { stroke: #8c959f; stroke-width: .5 }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } }
</style>"""


def main() -> None:
    """Write the table between its markers, and the plot."""
    loss = read()
    readme.replace(BEGIN, table(loss), PAGE)
    PLOT.write_text(plot(loss), encoding="utf-8")


def read() -> dict[str, Any]:
    """Return the loss that the bundled model's manifest records."""
    loss: dict[str, Any] = json.loads(MANIFEST.read_text(encoding="utf-8"))["quality"]["loss"]
    return loss


def table(loss: dict[str, Any]) -> str:
    """Return a model's losses as Markdown: a row for each score and type, a column for each number of dimensions."""
    sizes = list(loss["spearman"]["float"])
    lines = [f"| loss of | `output_dtype` | {' | '.join(sizes)} |", "|---" * (len(sizes) + 2) + "|"]
    for score, title in SCORES.items():
        for dtype in BITS:
            figures = [f"{loss[score][dtype][size]:.4f}" if size in loss[score][dtype] else "" for size in sizes]
            name = f"{title} {loss['reference'][score]:.4f}"
            lines.append(f"| {name} | {SAME.get(dtype, f'`{dtype}`')} | {' | '.join(figures)} |")
    return "\n".join(lines)


def plot(loss: dict[str, Any]) -> str:
    """Return a plot as SVG: the loss of each score by the bytes of a vector, a line for each type."""
    width = LEFT + 2 * WIDTH + GAP + 20
    panels = [_panel(loss, score, LEFT + index * (WIDTH + GAP)) for index, score in enumerate(SCORES)]
    size = f'viewBox="0 0 {width} {HEIGHT + TOP + 36}" width="{width}" height="{HEIGHT + TOP + 36}"'
    return "\n".join([f'<svg xmlns="http://www.w3.org/2000/svg" {size}>', STYLE, *panels, "</svg>\n"])


def _panel(loss: dict[str, Any], score: str, left: int) -> str:
    by_type = {dtype: {int(size): value for size, value in loss[score][dtype].items()} for dtype in BITS}
    most = max(value for by_size in by_type.values() for value in by_size.values())
    step = 0.02 if most < 0.15 else 0.05
    top: float = math.ceil(most / step) * step
    octaves = range(2, 1 + math.ceil(math.log2(4 * max(by_type["float"]))))

    def x(size_in_bytes: float) -> float:
        return left + WIDTH * (math.log2(size_in_bytes) - octaves[0]) / (octaves[-1] - octaves[0])

    def y(value: float) -> float:
        return TOP + HEIGHT * (1 - max(value, 0) / top)

    drawn = [f'<text x="{left}" y="16">loss of {SCORES[score]} by bytes of a vector</text>']
    for tick in range(round(top / step) + 1):
        height = y(tick * step)
        drawn.append(f'<path class="axis" d="M{left} {height:.1f}h{WIDTH}"/>')
        drawn.append(f'<text x="{left - 6}" y="{height + 4:.1f}" text-anchor="end">{tick * step:.2f}</text>')
    for octave in octaves:
        place = f'x="{x(1 << octave):.1f}" y="{TOP + HEIGHT + 18}" text-anchor="middle"'
        drawn.append(f"<text {place}>{1 << octave}</text>")
    for dtype, by_size in by_type.items():
        points = [(x(size * BITS[dtype] / 8), y(value)) for size, value in by_size.items()]
        line = " ".join(f"{across:.1f},{up:.1f}" for across, up in points)
        drawn.append(f'<polyline points="{line}" fill="none" stroke="{COLOURS[dtype]}" stroke-width="2"/>')
        drawn += [f'<circle cx="{across:.1f}" cy="{up:.1f}" r="3" fill="{COLOURS[dtype]}"/>' for across, up in points]
        across, up = points[-1]
        anchor = "start" if dtype == "binary" else "middle"
        drawn.append(
            f'<text x="{across + (8 if dtype == "binary" else 0):.1f}" y="{up - 8:.1f}" text-anchor="{anchor}" '
            f'style="fill: {COLOURS[dtype]}">{dtype}</text>'
        )
    return "\n".join(drawn)


if __name__ == "__main__":
    main()
