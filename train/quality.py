"""How good made pictures are, by numbers that stand beside their floors; all from CLIP vectors.

A distribution can be near its floor while prompts are ignored, so prompt agreement is measured first.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]
F32 = NDArray[np.float32]


@dataclass(frozen=True)
class Share:
    """A share of trials with its 95 % interval (Wilson 1927)."""

    hits: int
    trials: int

    @property
    def value(self) -> float:
        """Return the share, 0 to 1."""
        return self.hits / self.trials if self.trials else float("nan")

    @property
    def interval(self) -> tuple[float, float]:
        """Return the bounds of the interval."""
        if not self.trials:
            return 0.0, 1.0
        z, n, p = 1.959964, self.trials, self.value
        middle = (p + z * z / (2 * n)) / (1 + z * z / n)
        half = z / (1 + z * z / n) * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        return max(0.0, float(middle - half)), min(1.0, float(middle + half))


def retrieved(pictures: F32, texts: F32, *, among: int = 100, seed: int = 0, at: int = 1) -> Share:
    """Tell for how many pictures f32[N,D] their own text f32[N,D] is among the `at` nearest of `among` texts, its own included.

    The others are drawn from the other rows whose text's vector differs; equal texts do not compete. Chance is at/among.
    """
    rng = np.random.default_rng(seed)
    hits = 0
    similar = texts @ texts.T > 0.9999
    for row in range(len(pictures)):
        others = np.flatnonzero(~similar[row])
        drawn = rng.choice(others, min(among - 1, len(others)), replace=False)
        mine = float(pictures[row] @ texts[row])
        hits += int((texts[drawn] @ pictures[row] >= mine).sum() < at)
    return Share(hits, len(pictures))


def kid(one: F32, two: F32, *, subsets: int = 100, size: int = 1000, seed: int = 0) -> tuple[float, float]:
    """Return the Kernel Inception Distance of vectors f32[N,D], and its standard error over the subsets.

    The unbiased squared MMD with (xᵀy/D + 1)³ (Bińkowski et al. 2018, arXiv 1801.01401, eq. 3); it may be negative.
    """
    rng = np.random.default_rng(seed)
    size = min(size, len(one), len(two))
    found = []
    for _ in range(subsets):
        x = one[rng.choice(len(one), size, replace=False)].astype(np.float64)
        y = two[rng.choice(len(two), size, replace=False)].astype(np.float64)
        dimensions = x.shape[1]
        kernels = [(a @ b.T / dimensions + 1) ** 3 for a, b in ((x, x), (y, y), (x, y))]
        found.append(_unbiased(*kernels))
    return float(np.mean(found)), float(np.std(found) / np.sqrt(subsets))


def cmmd(one: F32, two: F32) -> float:
    """Return CMMD of unit vectors: 1000 times the squared MMD with a Gaussian kernel of σ = 10 (Jayasumana et al. 2024, 2401.09603).

    The biased estimate, as its authors use it: zero for equal sets.
    """
    x, y = one.astype(np.float64), two.astype(np.float64)
    means = [float(np.exp(-_squared(a, b) / 200).mean()) for a, b in ((x, x), (y, y), (x, y))]
    return 1000 * (means[0] + means[1] - 2 * means[2])


def _unbiased(xx: F64, yy: F64, xy: F64) -> float:
    rows = len(xx)
    inner = ((one.sum() - np.trace(one)) / (rows * (rows - 1)) for one in (xx, yy))
    return float(sum(inner) - 2 * xy.mean())


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
    kid: float
    kid_floor: float
    """Of real training pictures against real validation pictures; `cmmd_floor` alike."""
    cmmd: float
    cmmd_floor: float
    pictures: int


def measure(made: F32, real: F32, training: F32, texts: F32, *, seed: int = 0) -> Quality:
    """Compare made pictures with real ones of the same prompts, all as CLIP vectors f32[N,D] of unit norm.

    `real` are held-out pictures of the prompts `texts`, `training` other real ones for the floors.
    """
    return Quality(
        retrieved(made, texts, seed=seed), retrieved(real, texts, seed=seed), kid(made, real, seed=seed)[0],
        kid(training, real, seed=seed)[0], cmmd(made, real), cmmd(training, real), len(made),
    )  # fmt: skip
