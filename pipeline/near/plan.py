"""Which clusterings and margin reach a recall: chosen on one half of a sample against brute force, told from the other."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.near.clusters import Clustering, comparisons, list_count, needed_margin
from pipeline.shares import interval

F16 = NDArray[np.float16]
F32 = NDArray[np.float32]
I64 = NDArray[np.int64]

CLUSTERINGS = 4
FEW_PAIRS = 50
"""Near pairs in half a sample below which nothing is chosen by them."""
_EVERY_MARGIN = 2.0
_USUAL_SPREADS = 2.5
_BEYOND = 1.25
"""How far beyond the largest margin needed to go where the sample is too small for the share asked for."""


@dataclass(frozen=True)
class Recall:
    """A measured share with its 95 % interval (Wilson 1927); of nothing, nothing is known."""

    found: int
    pairs: int

    @property
    def frac(self) -> float | None:
        """Return the share found."""
        return self.found / self.pairs if self.pairs else None

    @property
    def interval(self) -> tuple[float, float]:
        """Return the interval."""
        return interval(self.found, self.pairs)


@dataclass(frozen=True)
class Plan:
    """How near pairs are searched for; no clusterings: all rows are compared with all."""

    clusterings: tuple[Clustering, ...] = ()
    margin_cos: float = 0.0
    recall: Recall = Recall(0, 0)
    compared: float = 0.0
    """Estimated number of compared pairs, row against row."""

    @property
    def words(self) -> str:
        """Say it."""
        if not self.clusterings:
            return "every pair compared"
        many = len(self.clusterings)
        kind = "one clustering" if many == 1 else f"union of {many} clusterings"
        return f"{kind} of {self.clusterings[0].lists:,} lists, rows enter lists within {self.margin_cos:.3f} of their nearest"


@dataclass(frozen=True)
class TruePairs:
    """All near pairs of sampled rows, by brute force: both rows' vectors f16[M,D], and which half each pair is of."""

    one: F16
    two: F16
    second_half: NDArray[np.bool_]


def choose(
    sample: F16,
    truth: TruePairs,
    rows: int,
    least_cos: float,
    target_recall: float,
    seed: int,
    train: Callable[..., Clustering],
) -> Plan:
    """Choose the cheapest union of clusterings with the margin that reaches the target on the first half of the pairs.

    Clusterings are added while that makes the search cheaper, or where one cannot reach the target. Of too few pairs, one
    clustering with the usual margin is taken, and what it finds is told for what it is worth.
    """
    seeds = (np.random.SeedSequence(seed).generate_state(CLUSTERINGS) % 2**31).tolist()
    trained: list[Clustering] = []
    looks: list[tuple[I64, F32]] = []
    needs = np.full(len(truth.one), np.inf, np.float32)
    measured = int((~truth.second_half).sum()) >= FEW_PAIRS
    best: Plan | None = None
    for one_seed in seeds[: CLUSTERINGS if measured else 1]:
        clustering = train(sample, list_count(rows), int(one_seed))
        trained.append(clustering)
        looks.append(clustering.nearest(sample[:: max(1, len(sample) // 20_000)]))
        needs = np.minimum(needs, needed_margin(clustering.nearest(truth.one), clustering.nearest(truth.two)))
        margin = (
            _margin(needs[~truth.second_half], target_recall) if measured else usual_margin(least_cos, sample.shape[1])
        )
        cost = sum(
            comparisons(*look, margin, c.lists, rows) + rows * c.lists for c, look in zip(trained, looks, strict=True)
        )
        told = needs[truth.second_half] <= margin
        plan = Plan(tuple(trained), min(margin, _EVERY_MARGIN), Recall(int(told.sum()), len(told)), cost)
        if measured and best is not None and best.margin_cos < _EVERY_MARGIN and cost >= best.compared:
            return best
        best = plan
    assert best is not None
    return best


def usual_margin(least_cos: float, dimensions: int) -> float:
    """Return the margin where there is nothing to measure by.

    Between near rows and the difference of two centroids (about 1.2 long) stands a product of random sign, spread by
    their distance over the root of the dimensions; two and a half spreads are taken.
    """
    return _USUAL_SPREADS * 1.2 * math.sqrt((2 - 2 * least_cos) / dimensions)


def _margin(needs: F32, target_recall: float) -> float:
    """Return the smallest margin that finds the target's share and half of what may be missed besides."""
    wanted = 1 - (1 - target_recall) / 2
    place = math.ceil(wanted * (len(needs) + 1)) - 1  # of n values the k-th is expected to have k ÷ (n + 1) below it
    if place < len(needs):
        return float(np.sort(needs)[place])
    return float(_BEYOND * needs.max())
