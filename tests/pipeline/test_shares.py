"""Shares and guessing, against values that are known."""

import pytest

from pipeline.shares import interval, more_than_chance


@pytest.mark.parametrize(
    ("hits", "trials", "low", "high"), [(9, 10, 0.5958, 0.9821), (0, 64, 0.0, 0.0566), (0, 0, 0.0, 1.0)]
)
def test_the_interval_is_wilsons(hits: int, trials: int, low: float, high: float) -> None:
    assert interval(hits, trials) == pytest.approx((low, high), abs=1e-4)


@pytest.mark.parametrize(
    ("trials", "chance", "least"),
    [(200, 0.01, 6), (100, 0.5, 61), (3, 0.5, 4), (10, 1.0, 11), (0, 0.01, 1), (10, 0.0, 1)],
)
def test_so_many_hits_are_more_than_guessing(trials: int, chance: float, least: int) -> None:
    assert more_than_chance(trials, chance) == least
