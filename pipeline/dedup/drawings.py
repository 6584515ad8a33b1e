"""The drawings of both pages: recall by transform and means, and the embedding's recall and precision over cosines."""

from typing import Any

import matplotlib as mpl
import numpy as np

from pipeline.dedup.bench import Measured
from pipeline.figures import INK, KEPT, LOST, NARROW_IN, OTHER, PAPER, SOFT, WIDE_IN, Drawing, drawn


def recalls(measured: Measured) -> Drawing:
    """Draw each transform's recall by each means as a table of shades, with the 95 % intervals."""
    means, names = measured.means, list(measured.cells)
    cells = [[measured.cells[name][m].recall for m in means] for name in names]
    values = np.array([[share.frac or 0.0 for share in row] for row in cells])
    shades = mpl.colors.LinearSegmentedColormap.from_list("found", ["#f6e3da", "#f3ead2", "#8fc4bb", KEPT])

    def draw(axes: Any, is_wide: bool) -> None:
        axes.imshow(values, cmap=shades, vmin=0, vmax=1, aspect="auto")
        axes.set_xticks(range(len(means)), [name.replace(" ≥ ", "\n≥ ").replace(" ≤ ", "\n≤ ") for name in means])
        axes.set_yticks(range(len(names)), names)
        axes.xaxis.tick_top()
        axes.grid(False)
        axes.set_xticks(np.arange(len(means)) - 0.5, minor=True)
        axes.set_yticks(np.arange(len(names)) - 0.5, minor=True)
        axes.grid(which="minor", color=PAPER, linewidth=2)
        for y, row in enumerate(cells):
            for x, share in enumerate(row):
                low, high = share.interval
                ink = PAPER if values[y, x] > 0.75 else INK
                lift = 0.12 if is_wide else 0.0
                axes.text(
                    x,
                    y - lift,
                    f"{values[y, x]:.2f}",
                    ha="center",
                    va="center",
                    color=ink,
                    fontsize=10.5 if is_wide else 7,
                )
                if is_wide:
                    axes.text(
                        x, y + 0.26, f"{low:.2f} to {high:.2f}", ha="center", va="center", color=ink, fontsize=7.5
                    )

    best = max(range(len(means)), key=lambda at: values[:, at].mean())
    alt = (
        f"Share of altered pictures whose original is found, {len(names)} transforms by {len(means)} means; "
        f"{measured.sample:,} pictures each. On average best: {means[best]} with {values[:, best].mean():.2f}."
    )
    return drawn(draw, alt, (WIDE_IN, 0.47 * len(names) + 1), (NARROW_IN, 0.34 * len(names) + 1))


def curve(measured: Measured) -> Drawing:
    """Draw recall and precision of the embedding alone over the cosine that proposes."""
    cosines = [cos for cos, _, _ in measured.curve]
    recall = [np.nan if r is None else r for _, r, _ in measured.curve]
    precision = [np.nan if p is None else p for _, _, p in measured.curve]
    at = measured.config.neighbour_cos

    def draw(axes: Any, _: bool) -> None:
        axes.plot(cosines, recall, color=KEPT, linewidth=2.2, label="recall: altered pictures found")
        axes.plot(cosines, precision, color=LOST, linewidth=2.2, label="precision: named pictures that are right")
        axes.axvline(at, color=INK, linewidth=1.2)
        axes.annotate(f"proposes from {at:g}", (at, 0.02), (5, 0), textcoords="offset points", color=INK)
        axes.set_xlabel("cosine of picture embeddings")
        axes.set_xlim(min(cosines), max(cosines))
        axes.set_ylim(0, 1.02)
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), borderaxespad=0.2)

    alt = f"Recall and precision of embeddings alone over the cosine, all transforms together; pairs are proposed from {at:g} on."
    return drawn(draw, alt, (WIDE_IN * 0.62, 3.6), (NARROW_IN, 3.4))


def by_means(names: list[str], verified: list[int], alone: list[int]) -> Drawing:
    """Draw how many verified pairs each means proposed, and how many it alone."""

    def draw(axes: Any, _: bool) -> None:
        y = np.arange(len(names))
        axes.barh(y, verified, color=KEPT, height=0.6, label="verified pairs it proposed")
        axes.barh(y, alone, color=OTHER, height=0.6, label="of them, by no other means")
        axes.set_yticks(y, names)
        axes.invert_yaxis()
        axes.grid(False, axis="y")
        for at, (n, only) in enumerate(zip(verified, alone, strict=True)):
            axes.annotate(
                f"{n:,}" + (f"  ({only:,})" if only else ""),
                (n, at),
                (5, 0),
                textcoords="offset points",
                va="center",
                color=SOFT,
            )
        axes.set_xlim(0, max(verified, default=1) * 1.2 or 1)
        axes.xaxis.set_visible(False)
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), borderaxespad=0.2, ncols=1)

    told = ", ".join(f"{name} {n:,} ({only:,} alone)" for name, n, only in zip(names, verified, alone, strict=True))
    return drawn(draw, f"Verified pairs by what proposed them: {told}.", (6.6, 2.9), (NARROW_IN, 2.8))
