"""A trial's numbers as they are kept and shown: `quality.json`, a table, a figure, the sentence of the gate."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from pipeline.figures import INK, KEPT, OTHER, SOFT, svg
from pipeline.store import Store
from train.making import Made, Settings, sheet
from train.sheets import RECORD, SHEET
from train.trial import Trial, among

FIGURE: Final = "quality.svg"
_SHOWN: Final = 40
_FACTS: Final = ("run", "step", "images_seen", "snapshot", "resolution_px")


def record(trial: Trial, facts: Mapping[str, Any], settings: Settings, solver: str, seed: int) -> dict[str, Any]:
    """Return what is kept of a trial: the measurements, of which model, and how its pictures were made."""
    prior = facts.get("prior")
    return {
        **{name: facts.get(name) for name in _FACTS},
        "prior": {name: prior[name] for name in ("run", "step", "images_seen")} if prior else None,
        "among": among(trial), "sampler": {
            "solver": settings.solver or solver, "steps": settings.steps, "guidance": settings.guidance, "seed": seed,
        }, **trial.told(), "sheet_uids": list(trial.rows.uids[:_SHOWN]),
    }  # fmt: skip


def keep(trial: Trial, kept: Mapping[str, Any], folder: Path) -> None:
    """Write the record, its figure and the drawn pictures of the first prompts to a run's folder."""
    store = Store(str(folder))
    store.write(RECORD, (json.dumps(kept, indent=1, sort_keys=True) + "\n").encode())
    store.write(FIGURE, figure(kept))
    shown = [Made(picture, {"prompt": text}) for picture, text in zip(trial.made, trial.rows.captions, strict=True)]
    with store.scratch() as scratch:
        sheet(shown[:_SHOWN]).save(scratch / SHEET)
        store.put(scratch / SHEET, SHEET)


def table(kept: Mapping[str, Any]) -> str:
    """Return the measurements as lines; each with its 95 % interval."""
    held, seen = kept["held"], kept["seen"]
    rows = [
        ("", "held-out prompts", "trained-on prompts", "real pictures", "guessing"),
        (f"prompts retrieved among {kept['among']}", *(_share(one) for one in _of("agreement", held, seen)),
         _share(held["agreement_real"]), f"{held['agreement']['chance']:.1%}"),
        ("CLIP score, own prompt", *(_number(one, 3) for one in _of("clip_own", held, seen)),
         _number(held["clip_real"], 3), ""),
        ("CLIP score, another's prompt", *(_number(one, 3) for one in _of("clip_shuffled", held, seen)), "", ""),
        ("KID × 1000", *(_number(one, 2, 1000) for one in _of("kid", held, seen)),
         _number(held["kid_floor"], 2, 1000), ""),
        ("CMMD", *(_number(one, 3) for one in _of("cmmd", held, seen)), _number(held["cmmd_floor"], 3), ""),
    ]  # fmt: skip
    if "validation_loss" in kept:
        losses = [kept.get(name) for name in ("validation_loss", "seen_loss")]
        rows.append(("loss", *("" if one is None else _number(one, 4) for one in losses), "", ""))
    rows += [
        (" / ".join(one["words"]), _share(one["made"]), "", _share(one["real"]), f"{one['made']['chance']:.1%}")
        for one in kept["attributes"]
    ]
    widths = [max(len(row[i]) for row in rows) for i in range(5)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def verdict(kept: Mapping[str, Any], run: Path) -> str | None:
    """Return why a model is not fit for use, or None: pictures that ignore their prompts are no better for looking real."""
    if kept["follows_prompts"]:
        return None
    found, held = kept["held"]["agreement"], kept["held"]
    return (
        f"{run}: the pictures do not follow their prompts: {found['hits']} of {found['n']} are retrieved "
        f"({found['value']:.1%}, 95 % interval {found['low']:.1%} to {found['high']:.1%}), and guessing reaches "
        f"{found['chance']:.1%}. KID {held['kid']['value']:.4f} (real pictures {held['kid_floor']['value']:.4f}) says nothing "
        "of prompts. Train longer, or look at the prior with --prior left out: the decoder alone draws the pictures' own vectors"
    )


def figure(kept: Mapping[str, Any]) -> bytes:
    """Draw the measurements with their intervals beside what real pictures reach, as SVG."""
    held, seen = kept["held"], kept["seen"]
    kids = (_thousandfold(one) for one in (held["kid"], seen["kid"], held["kid_floor"]))
    panels: list[tuple[str, list[tuple[str, Mapping[str, Any], str]], float | None]] = [
        (f"prompts retrieved among {kept['among']}", [
            ("held out", held["agreement"], KEPT), ("trained on", seen["agreement"], OTHER),
            ("real", held["agreement_real"], INK)], held["agreement"]["chance"]),
        ("CLIP score", [("held out", held["clip_own"], KEPT), ("trained on", seen["clip_own"], OTHER),
                        ("real", held["clip_real"], INK), ("others' prompts", held["clip_shuffled"], SOFT)], None),
        ("KID × 1000", list(zip(("held out", "trained on", "real"), kids, (KEPT, OTHER, INK), strict=True)), 0.0),
        ("CMMD", [("held out", held["cmmd"], KEPT), ("trained on", seen["cmmd"], OTHER),
                  ("real", held["cmmd_floor"], INK)], 0.0),
    ]  # fmt: skip

    def draw(whole: Any) -> None:
        for axes, (title, rows, line) in zip(whole.subplots(2, 2).flat, panels, strict=True):
            _dots(axes, title, rows, line)

    return svg(draw, (9.6, 4.4))


def _dots(axes: Any, title: str, rows: Sequence[tuple[str, Mapping[str, Any], str]], line: float | None) -> None:
    places = range(len(rows))[::-1]
    for at, (_, one, colour) in zip(places, rows, strict=True):
        axes.plot([one["low"], one["high"]], [at, at], color=colour, linewidth=3, alpha=0.35, solid_capstyle="round")
        axes.plot(one["value"], at, "o", color=colour, markersize=7)
        axes.annotate(_short(one["value"]), (one["value"], at), (0, 7), textcoords="offset points", ha="center",
                      color=INK, fontsize=9)  # fmt: skip
    if line is not None:
        axes.axvline(line, color=SOFT, linewidth=1, linestyle=(0, (4, 3)))
    axes.set_yticks(list(places), [name for name, _, _ in rows])
    axes.set_ylim(-0.6, len(rows) - 0.2)
    axes.grid(False, axis="y")
    axes.margins(x=0.08)
    axes.set_title(title, loc="left", color=INK)


def _short(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 0.1 else f"{value:.3g}"


def _thousandfold(one: Mapping[str, Any]) -> dict[str, float]:
    return {name: 1000 * one[name] for name in ("low", "value", "high")}


def _of(name: str, *groups: Mapping[str, Any]) -> list[Any]:
    return [one[name] for one in groups]


def _share(one: Mapping[str, Any]) -> str:
    return f"{one['value']:.1%} ({one['low']:.1%} to {one['high']:.1%}, n {one['n']:,})"


def _number(one: Mapping[str, Any], digits: int, times: float = 1.0) -> str:
    low, value, high = (times * one[name] for name in ("low", "value", "high"))
    return f"{value:.{digits}f} ({low:.{digits}f} to {high:.{digits}f}, n {one['n']:,})"
