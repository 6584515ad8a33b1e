"""How good made pictures are, by numbers that stand beside their floors; all from CLIP vectors.

A distribution can be near its floor while prompts are ignored, so prompt agreement is measured first.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from train.estimates import Estimate, Share

F64 = NDArray[np.float64]
F32 = NDArray[np.float32]
AMONG: Final = 100
"""Texts that a picture's own text competes with, itself included."""
_CMMD_SIGMA: Final = 10.0
_CMMD_SCALE: Final = 1000.0


def retrieved(
    pictures: F32, texts: F32, *, pool: F32 | None = None, among: int = AMONG, seed: int = 0, at: int = 1
) -> Share:
    """Tell for how many pictures f32[N,D] their own text f32[N,D] is among the `at` nearest of `among` texts, its own included.

    The others are drawn from `pool` f32[M,D] (the other rows' texts when absent), of which those with another vector
    compete: equal texts do not. Chance is at/among, or more where there are fewer texts.
    """
    rng = np.random.default_rng(seed)
    pool = _unit(texts if pool is None else pool)
    texts = _unit(texts)  # stored in halves: not quite of unit length, and then a text is no equal of itself
    hits, chances = 0, []
    for picture, text in zip(pictures, texts, strict=True):
        others = np.flatnonzero(pool @ text <= 0.9999)
        drawn = rng.choice(others, min(among - 1, len(others)), replace=False)
        hits += int((pool[drawn] @ picture >= float(picture @ text)).sum() < at)
        chances.append(min(1.0, at / (len(drawn) + 1)))
    return Share(hits, len(pictures), float(np.mean(chances)) if chances else 1.0)


def _unit(vectors: F32) -> F32:
    found: F32 = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return found


def kid(one: F32, two: F32) -> Estimate:
    """Return the Kernel Inception Distance of vectors f32[N,D], here of CLIP's.

    The unbiased squared MMD with (xᵀy/D + 1)³ (Bińkowski et al. 2018, arXiv 1801.01401, section 3); it may be negative.
    """
    return _distance(one, two, lambda x, y: (x @ y.T / x.shape[1] + 1) ** 3)


def cmmd(one: F32, two: F32) -> Estimate:
    """Return CMMD of unit vectors: 1000 times the squared MMD with a Gaussian kernel of σ = 10 (Jayasumana et al. 2024, 2401.09603).

    The unbiased estimate, so that it is about zero for two samples of one distribution, however small; it may be negative.
    """
    found = _distance(one, two, lambda x, y: np.exp(-_squared(x, y) / (2 * _CMMD_SIGMA**2)))
    return Estimate(_CMMD_SCALE * found.value, _CMMD_SCALE * found.error, found.n)


def _distance(one: F32, two: F32, kernel: Callable[[F64, F64], F64]) -> Estimate:
    """Return the squared MMD by its one-sample U-statistic (Gretton et al. 2012, JMLR 13, eq. 4), with its jackknife error.

    Pair i is (one[i], two[i]), and no term is of a pair with itself: a picture and the real one of its own prompt may
    depend on each other. Of sets of different size, as many are taken as the smaller has.
    """
    rows = min(len(one), len(two))
    if rows < 2:
        return Estimate(float("nan"), float("nan"), rows)
    x, y = one[:rows].astype(np.float64), two[:rows].astype(np.float64)
    crossed = kernel(x, y)
    h = kernel(x, x) + kernel(y, y) - crossed - crossed.T
    np.fill_diagonal(h, 0.0)
    each = h.sum(1)
    value = float(each.sum() / (rows * (rows - 1)))
    if rows < 3:
        return Estimate(value, float("nan"), rows)
    without = (each.sum() - 2 * each) / ((rows - 1) * (rows - 2))
    return Estimate(value, float(np.sqrt((rows - 1) / rows * ((without - without.mean()) ** 2).sum())), rows)


def _squared(x: F64, y: F64) -> F64:
    found: F64 = (x * x).sum(1)[:, None] + (y * y).sum(1)[None] - 2 * x @ y.T
    return np.maximum(found, 0)


@dataclass(frozen=True)
class Quality:
    """What a model's pictures are worth; every figure with what real pictures reach in its place."""

    agreement: Share
    """Prompts retrieved among 100 from made pictures."""
    agreement_real: Share
    """From the real pictures of the same prompts: as much as can be reached."""
    clip_own: Estimate
    """Cosine of made pictures with their own prompts; `clip_real` of the real ones, `clip_shuffled` of made ones with others'."""
    clip_real: Estimate
    clip_shuffled: Estimate
    kid: Estimate
    """Of made pictures against real held-out ones."""
    kid_floor: Estimate
    """Of real training pictures against the same real held-out ones; `cmmd_floor` alike."""
    cmmd: Estimate
    cmmd_floor: Estimate

    def told(self) -> dict[str, Any]:
        """Return the figures as JSON."""
        return {one.name: getattr(self, one.name).told() for one in fields(self)}


@dataclass(frozen=True)
class Sample:
    """Made pictures and the real ones of the same prompts, as CLIP vectors f32[N,D] of unit norm."""

    made: F32
    real: F32
    texts: F32


def measure(sample: Sample, held: F32, training: F32, *, pool: F32 | None = None, seed: int = 0) -> Quality:
    """Measure made pictures against real held-out ones f32[M,D], with the distance of real training ones to these as the floor.

    `pool` are the texts that compete with each picture's own (`retrieved`).
    """
    made, real, texts = sample.made, sample.real, sample.texts
    order = np.random.default_rng(seed).permutation(len(texts))
    others = np.empty_like(texts)
    others[order] = texts[np.roll(order, 1)]
    own, genuine, shuffled = (
        Estimate.mean((a * b).sum(1).astype(np.float64)) for a, b in ((made, texts), (real, texts), (made, others))
    )
    return Quality(
        retrieved(made, texts, pool=pool, seed=seed), retrieved(real, texts, pool=pool, seed=seed), own, genuine, shuffled,
        kid(made, held), kid(training, held), cmmd(made, held), cmmd(training, held),
    )  # fmt: skip
