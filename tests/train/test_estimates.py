"""Intervals and the bound of guessing, against values that are known."""

import math

import numpy as np
import pytest

from train.estimates import Estimate, Share


def test_intervals_hold_the_share_and_stay_within_zero_and_one() -> None:
    assert Share(0, 64).interval == pytest.approx((0.0, 0.0566), abs=1e-3)
    low, high = Share(30, 60).interval
    assert low < 0.5 < high
    assert Share(0, 0).interval == (0.0, 1.0)


@pytest.mark.parametrize(
    ("trials", "chance", "least"),
    [
        (200, 0.01, 6),  # P(X >= 5) = 0.0517, P(X >= 6) = 0.0160
        (100, 0.5, 61),  # P(X >= 60) = 0.0284, P(X >= 61) = 0.0176
        (10, 0.1, 4),  # P(X >= 3) = 0.0702, P(X >= 4) = 0.0128
        (3, 0.5, 4),  # three of three happen by chance: never enough
        (10, 1.0, 11),
        (0, 0.01, 1),
    ],
)
def test_so_many_hits_are_more_than_guessing(trials: int, chance: float, least: int) -> None:
    assert Share(0, trials, chance).least_hits == least
    if least <= trials:
        assert Share(least, trials, chance).above_chance
        assert not Share(least - 1, trials, chance).above_chance


def test_the_bound_is_the_binomials() -> None:
    for trials, chance in ((57, 0.03), (220, 0.01), (400, 0.2)):
        tail = [
            sum(math.comb(trials, k) * chance**k * (1 - chance) ** (trials - k) for k in range(hits, trials + 1))
            for hits in (Share(0, trials, chance).least_hits - 1, Share(0, trials, chance).least_hits)
        ]
        assert tail[0] > 0.025 >= tail[1]


def test_a_mean_comes_with_its_error() -> None:
    found = Estimate.mean([1.0, 2.0, 3.0])
    assert (found.value, found.n) == (2.0, 3)
    assert found.error == pytest.approx(1 / math.sqrt(3))
    assert found.interval == pytest.approx((2 - 1.959964 / math.sqrt(3), 2 + 1.959964 / math.sqrt(3)))
    assert np.isnan(Estimate.mean([1.0]).error)
    assert np.isnan(Estimate.mean([]).value)
    assert found.told().keys() == {"value", "low", "high", "n"}
