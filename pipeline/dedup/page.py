"""Both pages of `tamis dedup`: what was found in a data set, and what would be found of altered pictures."""

from pathlib import Path

from pipeline.dedup import drawings
from pipeline.dedup.bench import Measured, added
from pipeline.dedup.survey import Survey
from pipeline.figures import group_sizes
from pipeline.pages import render
from pipeline.reasons import meaning


def write_survey(out: Path, found: Survey) -> None:
    """Write the page of a survey, self-contained."""
    means = [one for one in found.means if one.proposed]
    figure = drawings.by_means([m.name for m in means], [m.verified for m in means], [m.alone for m in means])
    _write(
        out,
        "dedup.html",
        found=found,
        dropped=sum(found.sizes) - len(found.sizes),
        fates=[(fate, n, "In the shards." if fate == "kept" else meaning(fate)) for fate, n in found.fates.items()],
        size_figure=group_sizes(list(found.sizes)),
        means_figure=figure if means else None,
    )


def write_bench(out: Path, measured: Measured) -> None:
    """Write the page of a measurement, self-contained."""
    precision = {name: added([row[name].precision for row in measured.cells.values()]) for name in measured.means}
    recall = {name: added([row[name].recall for row in measured.cells.values()]) for name in measured.means}
    _write(
        out,
        "dedup_bench.html",
        measured=measured,
        precision=precision,
        recall=recall,
        recall_figure=drawings.recalls(measured),
        curve_figure=drawings.curve(measured),
    )


def _write(out: Path, template: str, **context: object) -> None:
    page = render("pipeline", template, **context)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(page, encoding="utf-8")
