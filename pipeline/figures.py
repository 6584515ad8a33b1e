"""The report's drawings, as SVG in data: URIs; each comes wide and narrow, so that a phone shows readable letters."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from pipeline.pages import data_uri

I64 = NDArray[np.int64]
F64 = NDArray[np.float64]

# the palette of tamis.css
INK, SOFT, LINE, PAPER = "#1f2a37", "#667085", "#dfe3e8", "#ffffff"
KEPT, OTHER, LOST = "#0f766e", "#e3b04b", "#c4603c"
_FONTS = "-apple-system, 'Segoe UI', Roboto, 'Noto Sans', 'Helvetica Neue', 'Liberation Sans', Arial, sans-serif"
WIDE_IN, NARROW_IN = 10.8, 4.0
_STYLE: dict[str, Any] = {
    "svg.fonttype": "none", "svg.hashsalt": "tamis", "text.parse_math": False, "font.family": "DejaVu Sans",
    "font.size": 10.5, "text.color": INK, "axes.labelcolor": SOFT, "axes.edgecolor": LINE, "xtick.color": SOFT,
    "ytick.color": SOFT, "axes.spines.top": False, "axes.spines.right": False, "axes.spines.left": False,
    "axes.grid": True, "axes.axisbelow": True, "grid.color": "#eceff2", "grid.linewidth": 0.8,
    "xtick.major.size": 0, "ytick.major.size": 0, "xtick.minor.size": 0, "ytick.minor.size": 0,
    "figure.facecolor": PAPER, "axes.facecolor": PAPER, "legend.frameon": False, "legend.fontsize": 10.5,
    "axes.titlesize": 10.5, "figure.constrained_layout.use": True,
}  # fmt: skip


@dataclass(frozen=True)
class Drawing:
    """A figure in two widths, and its words for those who do not see it."""

    wide: str
    narrow: str
    alt: str


def drawn(
    draw: Callable[[Any, bool], None], alt: str, wide: tuple[float, float], narrow: tuple[float, float]
) -> Drawing:
    """Draw on one axes in two sizes (inches at 96 px)."""

    def on(is_wide: bool) -> Callable[[Figure], None]:
        return lambda figure: draw(figure.add_subplot(), is_wide)

    uris = [data_uri(svg(on(is_wide), inches), "image/svg+xml") for inches, is_wide in ((wide, True), (narrow, False))]
    return Drawing(uris[0], uris[1], alt)


def svg(draw: Callable[[Figure], None], inches: tuple[float, float]) -> bytes:
    """Draw on an empty figure of a size in inches and return it as SVG: the same bytes for the same drawing."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=inches)
        draw(figure)
        out = BytesIO()
        FigureCanvasSVG(figure).print_svg(out, metadata={"Date": None, "Creator": None})
    text = re.sub(r"font-family: [^;\"]*", f"font-family: {_FONTS}", out.getvalue().decode())
    text = text.replace(f'width="{72 * inches[0]:g}pt" height="{72 * inches[1]:g}pt" ', "", 1)
    return re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL).encode()


def _counts(axis: Any) -> None:
    axis.set_major_locator(MaxNLocator(5, integer=True))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def cosines(edges: F64, counts: I64, threshold: float, model: str) -> Drawing:
    """Draw the histogram of picture-text cosines with the threshold.

    `counts` is i64[3,B]: kept, dropped for another reason, below the threshold.
    """
    total = int(counts.sum())
    low, high, step = _bins(edges, counts.sum(axis=0), threshold)
    starts = np.arange(low, high, step)
    bars = [np.add.reduceat(row[low:high], starts - low) for row in counts]
    lefts, width = edges[starts], float(edges[1] - edges[0]) * step
    named = (
        ("below the threshold", LOST, bars[2]),
        ("dropped for another reason", OTHER, bars[1]),
        ("kept", KEPT, bars[0]),
    )

    def draw(axes: Any, is_wide: bool) -> None:
        base = np.zeros(len(lefts))
        for label, colour, rows in named:
            axes.bar(lefts, rows, width=width * 0.92, bottom=base, align="edge", color=colour, label=label)
            base = base + rows
        axes.grid(False, axis="x")
        axes.set_xlim(edges[low] - width, edges[high] + width)
        axes.axvline(threshold, color=INK, linewidth=1.4)
        axes.annotate(f"threshold {threshold:g}", (threshold, 1.0), (6, -2), xycoords=("data", "axes fraction"),
                      textcoords="offset points", va="top", color=INK, fontweight="bold")  # fmt: skip
        axes.set_ylim(0, max(float(base.max(initial=0)) * 1.12, 1))
        _counts(axes.yaxis)
        axes.set_xlabel("cosine of picture and text")
        axes.set_ylabel("pairs")
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=3 if is_wide else 1, borderaxespad=0.2,
                    handlelength=1, handleheight=1, columnspacing=1.6, borderpad=0.3)  # fmt: skip

    kept, other, below = (int(row.sum()) for row in counts)
    alt = (
        f"Histogram of the cosine of picture and text by {model}, {total:,} pairs. Threshold {threshold:g}: {below:,} "
        f"let go below it, {kept:,} kept, {other:,} dropped for another reason. "
        f"Median {_median(edges, counts.sum(axis=0)):.3f}."
    )
    return drawn(draw, alt, (WIDE_IN, 4.0), (NARROW_IN, 3.9))


def _bins(edges: F64, counts: I64, threshold: float) -> tuple[int, int, int]:
    """Return the first and last bin to show and how many make one bar, such that a bar begins at the threshold.

    Few pairs make broad bars: about 2·√n of them, between 24 and 90.
    """
    filled = np.flatnonzero(counts)
    at = int(np.abs(edges - threshold).argmin())
    low = min(int(filled.min(initial=at)), at - 10)
    high = max(int(filled.max(initial=at)) + 1, at + 10)
    step = max(1, round((high - low) / float(np.clip(2 * np.sqrt(counts.sum()), 24, 90))))
    low = at - -(-(at - low) // step) * step
    return (low if low >= 0 else at % step), min(high, len(edges) - 1), step


def _median(edges: F64, counts: I64) -> float:
    if not counts.sum():
        return float("nan")
    at = int(np.searchsorted(np.cumsum(counts), counts.sum() / 2))
    return float((edges[at] + edges[at + 1]) / 2)


def sizes(edges: F64, counts: I64, min_px: int, max_aspect: float) -> Drawing:
    """Draw width × height of the originals as bubbles on log axes; `counts` i64[2,B,B]: looked at, kept."""
    x, y = np.nonzero(counts[0])
    n, kept = counts[0][x, y], counts[1][x, y]
    middle = np.sqrt(edges[:-1] * edges[1:])
    largest = max(int(n.max(initial=1)), 1)
    low = float(min(middle[x].min(initial=64), middle[y].min(initial=64), max(min_px, 8))) / 1.5
    high = float(max(middle[x].max(initial=1024), middle[y].max(initial=1024))) * 1.5

    def draw(axes: Any, is_wide: bool) -> None:
        colours = mpl.colors.LinearSegmentedColormap.from_list("kept", [LOST, OTHER, KEPT])
        areas = 8 + (420 if is_wide else 200) * n / largest
        dots = axes.scatter(middle[x], middle[y], s=areas, c=kept / np.maximum(n, 1), cmap=colours, vmin=0, vmax=1,
                            alpha=0.85, linewidths=0.6, edgecolors=PAPER)  # fmt: skip
        axes.set_xscale("log", base=2)
        axes.set_yscale("log", base=2)
        axes.set_xlim(low, high)
        axes.set_ylim(low, high)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        line = np.array([low, high])
        for slope in (max_aspect, 1 / max_aspect):
            axes.plot(line, line * slope, color=SOFT, linewidth=1, linestyle=(0, (4, 3)))
        axes.plot([min_px, min_px, high], [high, min_px, min_px], color=INK, linewidth=1.2)
        axes.set_xlabel(f"width in pixels   (line: {min_px} px; dashes: aspect {max_aspect:g})")
        axes.set_ylabel("height in pixels")
        axes.set_aspect("equal" if is_wide else "auto")
        bar = axes.figure.colorbar(dots, ax=axes, shrink=0.6, aspect=18, pad=0.02, ticks=[0, 0.5, 1])
        bar.outline.set_visible(False)
        bar.ax.set_yticklabels(["0 %", "50 %", "100 %"])
        bar.set_label("share kept")

    total = int(n.sum())
    alt = (
        f"Sizes of {total:,} original pictures, width against height in pixels; larger dots are more pictures, "
        "greener ones were kept more often."
    )
    if total:
        at = int(n.argmax())
        alt += f" Most are about {middle[x[at]]:,.0f} × {middle[y[at]]:,.0f}."
    return drawn(draw, alt, (6.6, 5.4), (NARROW_IN, 3.5))


def group_sizes(members: Sequence[int]) -> Drawing:
    """Draw how many groups of copies have two, three, … members."""
    bins = ((2, 2, "2"), (3, 3, "3"), (4, 4, "4"), (5, 9, "5–9"), (10, 99, "10–99"), (100, 10**9, "100 +"))
    rows = [sum(1 for m in members if low <= m <= high) for low, high, _ in bins]
    names = [name for *_, name in bins]

    def draw(axes: Any, _: bool) -> None:
        bars = axes.bar(names, rows, color=KEPT, width=0.66)
        axes.bar_label(bars, labels=[f"{n:,}" if n else "" for n in rows], padding=3, color=INK)
        axes.grid(False, axis="x")
        axes.set_ylim(0, max(rows, default=1) * 1.15 or 1)
        _counts(axes.yaxis)
        axes.set_xlabel("members of a group, the kept one included")
        axes.set_ylabel("groups")

    told = ", ".join(f"{n:,} of {name}" for n, name in zip(rows, names, strict=True) if n)
    return drawn(draw, f"Groups of copies by number of members: {told}.", (6.6, 2.5), (NARROW_IN, 2.3))
