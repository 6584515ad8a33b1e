"""What the study measures of a run, with as few pictures drawn as tell arms apart."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from train import models
from train.estimates import Estimate
from train.export import assemble
from train.making import Maker, Settings
from train.opening import ClipEncoder, facts_of, open_model, weights_folder
from train.quality import F32, cmmd, retrieved
from train.run import Run, open_run
from train.trial import POOL, drawings, looked, rows_of, texts_of

PROMPTS = 218
"""Held-out captions, all that there are of the emoji."""
FAST = Settings(solver="unipc", steps=8)


@dataclass
class Looker:
    """Looks at pictures by the data set's CLIP; the real ones are looked at once."""

    real: F32 | None = None
    encoder: ClipEncoder | None = None


@dataclass(frozen=True)
class Measured:
    """A decoder's pictures for held-out captions."""

    source: str
    guidance: float
    agreement: dict[str, Any] = field(default_factory=dict)
    first_five: dict[str, Any] = field(default_factory=dict)
    likeness: dict[str, Any] = field(default_factory=dict)
    """Cosine with the real picture of the same row; `others` with another row's."""
    others: float = 0.0
    cmmd: float = 0.0


def pictures(folder: Path, prior: Path | None, guidance: float, looker: Looker) -> Measured:
    """Draw the held-out captions, or their pictures' own vectors where there is no prior, and measure."""
    run = open_run(folder)
    model = open_model(folder, prior, "cpu")
    looker.encoder = looker.encoder or ClipEncoder(model, "cpu")
    rows = rows_of(run, run.held, PROMPTS, "quality")
    pool = _pool(run, rows.text)
    if looker.real is None:
        looker.real = looked(looker.encoder.pixels, rows.pictures)
    how = Settings(solver=FAST.solver, steps=FAST.steps, guidance=guidance)
    drawn = drawings(Maker(model.pipeline, {}, how), rows, 0)
    made = looked(looker.encoder.pixels, [np.asarray(one) for one in drawn])
    text = run.config.decoder.condition == "text"
    return Measured(
        "text" if text else "prior" if prior else "picture's own vector", guidance,
        retrieved(made, rows.text, pool=pool).told(), retrieved(made, rows.text, pool=pool, at=5).told(),
        _cosines(made, looker.real), float((made * np.roll(looker.real, 1, 0)).sum(1).mean()), cmmd(made, looker.real).value,
    )  # fmt: skip


def imagined(folder: Path) -> dict[str, Any]:
    """Measure a prior alone, for held-out captions: do its vectors find their texts, how near are they to the pictures'?"""
    run = open_run(folder)
    rows = rows_of(run, run.held, PROMPTS, "quality")
    prior = models.load(weights_folder(run, None))
    assert isinstance(prior, models.Prior)
    stand_in = models.decoder(run.config.decoder, rows.text.shape[1], 3, 32)
    pipeline = assemble(stand_in, prior, {**facts_of(run, None), "objective": "flow"})
    made = pipeline.imagine(torch.from_numpy(rows.text), list(range(len(rows))), 25, 2.0).numpy()
    return {
        "agreement": retrieved(made, rows.text, pool=_pool(run, rows.text)).told(),
        "cos": _cosines(made, rows.image),
    }


def _cosines(one: F32, two: F32) -> dict[str, Any]:
    return Estimate.mean((one * two).sum(1).astype(np.float64)).told()


def _pool(run: Run, texts: F32) -> F32:
    return np.concatenate([texts, texts_of(run, run.shown, POOL)])
