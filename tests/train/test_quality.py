"""Measures of quality on vectors whose truth is known."""

import numpy as np
import pytest

from train.quality import F32, Share, cmmd, kid, measure, retrieved


def unit(values: object) -> F32:
    array = np.asarray(values, np.float32)
    scaled: F32 = array / np.linalg.norm(array, axis=1, keepdims=True)
    return scaled


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(1)


def test_pictures_that_fit_their_prompts_are_retrieved_and_random_ones_by_chance(rng: np.random.Generator) -> None:
    texts = unit(rng.normal(size=(400, 64)))
    assert retrieved(texts, texts).hits == 400
    chance = retrieved(unit(rng.normal(size=(400, 64))), texts)
    assert chance.interval[0] <= 0.01 <= chance.interval[1]
    near = retrieved(unit(texts + rng.normal(size=texts.shape) * 0.4), texts)
    assert 0.1 < near.value < 0.9


def test_equal_prompts_do_not_compete(rng: np.random.Generator) -> None:
    texts = np.repeat(unit(rng.normal(size=(5, 16))), 20, axis=0)
    assert retrieved(texts, texts).value == 1.0


def test_distances_are_zero_within_a_distribution_and_grow_with_the_shift(rng: np.random.Generator) -> None:
    one, two = (unit(rng.normal(size=(600, 16))) for _ in range(2))
    shifted = [unit(two + step * np.eye(16)[0]) for step in (0.5, 1.0, 2.0)]
    floor = abs(kid(one, two, subsets=20, size=300)[0])
    kids = [kid(one, other, subsets=20, size=300)[0] for other in shifted]
    assert kids == sorted(kids)
    assert floor < kids[0] / 10
    cmmds = [cmmd(one, other) for other in (one, two, *shifted)]
    assert cmmds == sorted(cmmds)
    assert cmmds[0] == pytest.approx(0, abs=1e-9)


def test_a_model_that_ignores_its_prompts_has_a_good_distance_and_no_agreement(rng: np.random.Generator) -> None:
    texts = unit(rng.normal(size=(300, 32)))
    real, training = (unit(texts + 0.1 * rng.normal(size=texts.shape)) for _ in range(2))
    quality = measure(real[rng.permutation(300)], real, training, texts)
    assert quality.kid <= quality.kid_floor + 1e-6
    assert quality.agreement.value < 0.05 < 0.9 < quality.agreement_real.value


def test_intervals_hold_the_share_and_stay_within_zero_and_one() -> None:
    assert Share(0, 64).interval == pytest.approx((0.0, 0.0566), abs=1e-3)
    low, high = Share(30, 60).interval
    assert low < 0.5 < high
    assert Share(0, 0).interval == (0.0, 1.0)
