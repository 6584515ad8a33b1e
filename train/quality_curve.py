"""How a run's pictures got better: losses, and prompts retrieved at every checkpoint that is kept, over the images seen."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from pipeline.figures import INK, KEPT, LINE, OTHER, SOFT, svg
from pipeline.store import Store
from train import checkpoint
from train.making import Settings
from train.opening import open_model
from train.progress import METRICS
from train.run import Run
from train.trial import Exam

RECORD: Final = "quality-curve.json"
FIGURE: Final = "quality-curve.svg"
_SMOOTH: Final = 25
"""Lines of metrics.jsonl that one point of the training loss is the mean of."""


def points(exam: Exam, prior: Path | None, settings: Settings, device: str, seed: int = 0) -> list[dict[str, Any]]:
    """Return what every kept checkpoint's pictures are worth, in the order of the steps."""
    found = []
    for step in checkpoint.steps(exam.run.folder):
        model = open_model(exam.run.folder, prior, device, step)
        trial = exam.take(model, settings, seed=seed, losses=False)
        found.append(
            {
                "step": step,
                "images_seen": model.facts["images_seen"],
                "held": trial.held.told(),
                "seen": trial.seen.told(),
            }
        )
    return found


def keep(run: Run, found: Sequence[Mapping[str, Any]]) -> None:
    """Write the measurements and their figure to the run's folder."""
    store = Store(str(run.folder))
    store.write(RECORD, (json.dumps(list(found), indent=1, sort_keys=True) + "\n").encode())
    store.write(FIGURE, figure(run, found))


def figure(run: Run, found: Sequence[Mapping[str, Any]]) -> bytes:
    """Draw the losses and the retrieved prompts over the images seen, as SVG."""
    lines = [json.loads(line) for line in (run.folder / METRICS).read_text(encoding="utf-8").splitlines()]
    batch = run.config.optim.batch

    def draw(whole: Any) -> None:
        left, right = whole.subplots(1, 2)
        for name, colour, words in (
            ("loss", LINE, "training, as it went"), ("seen_loss", OTHER, "training rows, fixed noise"),
            ("validation_loss", KEPT, "held-out rows, fixed noise"),
        ):  # fmt: skip
            rows = [(line["step"] * batch, line[name]) for line in lines if name in line]
            left.plot(*_smooth(rows, _SMOOTH if name == "loss" else 1), color=colour, label=words, linewidth=2)
        left.set_title("loss", loc="left", color=INK)
        left.set_yscale("log")
        left.minorticks_off()
        low, high = left.get_ylim()
        ticks = [one for one in (0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0, 1.5) if low <= one <= high]
        left.set_yticks(ticks, [f"{one:g}" for one in ticks])
        for name, colour, words in (("seen", OTHER, "trained-on prompts"), ("held", KEPT, "held-out prompts")):
            x = [one["images_seen"] for one in found]
            shares = [one[name]["agreement"] for one in found]
            right.plot(x, [one["value"] for one in shares], "o-", color=colour, label=words, linewidth=2, markersize=4)
            right.fill_between(
                x, [s["low"] for s in shares], [s["high"] for s in shares], color=colour, alpha=0.15, linewidth=0
            )
        last = found[-1]["held"]
        right.axhline(last["agreement_real"]["value"], color=INK, linewidth=1.2, label="real pictures")
        right.axhline(last["agreement"]["chance"], color=SOFT, linewidth=1.2, linestyle=(0, (4, 3)), label="guessing")
        right.set_title("prompts retrieved among 100, with 95 % intervals", loc="left", color=INK)
        right.set_ylim(bottom=0)
        for axes in (left, right):
            axes.set_xlabel("images seen")
            axes.xaxis.set_major_formatter(lambda value, _: f"{value / 1000:,.0f} k" if value else "0")
            axes.legend(loc="upper right" if axes is left else "best", fontsize=9)

    return svg(draw, (10.8, 4.0))


def _smooth(rows: Sequence[tuple[int, float]], width: int) -> tuple[list[float], list[float]]:
    """Return x and y with every `width` points made one."""
    pieces = [np.array(rows[at : at + width], np.float64).mean(0) for at in range(0, len(rows), width)]
    return [float(one[0]) for one in pieces], [float(one[1]) for one in pieces]
