"""Measures of quality on vectors whose truth is known."""

from collections.abc import Callable

import numpy as np
import pytest

from train.estimates import Estimate
from train.quality import F32, Sample, cmmd, kid, measure, retrieved


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


def test_a_larger_pool_competes_and_fewer_texts_make_guessing_easier(rng: np.random.Generator) -> None:
    texts = unit(rng.normal(size=(30, 8)))
    few = retrieved(texts, texts)
    assert few.chance == pytest.approx(1 / 30)
    crowded = retrieved(unit(texts + 0.5 * rng.normal(size=texts.shape)), texts, pool=unit(rng.normal(size=(900, 8))))
    assert crowded.chance == pytest.approx(1 / 100)
    assert crowded.value < retrieved(unit(texts + 0.5 * rng.normal(size=texts.shape)), texts).value


def test_distances_are_about_zero_within_a_distribution_and_grow_with_the_shift(rng: np.random.Generator) -> None:
    one, two = (unit(rng.normal(size=(600, 16))) for _ in range(2))
    shifted = [unit(two + step * np.eye(16)[0]) for step in (0.5, 1.0, 2.0)]
    for distance in (kid, cmmd):
        low, high = distance(one, two).interval
        assert low <= 0 <= high
        found = [distance(one, other) for other in (two, *shifted)]
        assert [each.value for each in found] == sorted(each.value for each in found)
        assert abs(found[0].value) < found[1].value / 10
        assert found[1].interval[0] > 0


@pytest.mark.parametrize("distance", [kid, cmmd])
def test_distances_have_no_bias_and_their_errors_are_right(
    distance: Callable[[F32, F32], Estimate], rng: np.random.Generator
) -> None:
    found = [distance(*(unit(rng.normal(size=(40, 8)) + shift) for shift in (0, 0.3))) for _ in range(300)]
    near = distance(*(unit(rng.normal(size=(3000, 8)) + shift) for shift in (0, 0.3)))
    values = np.array([one.value for one in found])
    assert values.mean() == pytest.approx(near.value, abs=3 * values.std() / np.sqrt(300) + 2 * near.error)
    assert np.mean([one.error for one in found]) == pytest.approx(values.std(), rel=0.25)


def test_a_copy_of_every_real_picture_is_no_nearer_than_another_sample(rng: np.random.Generator) -> None:
    real, other = (unit(rng.normal(size=(200, 16))) for _ in range(2))
    assert kid(real, real).value == pytest.approx(0, abs=1e-9)
    assert abs(kid(other, real).value) < 3 * kid(other, real).error
    assert cmmd(real[:1], other).n == 1


def test_a_model_that_ignores_its_prompts_has_a_good_distance_and_does_not_pass(rng: np.random.Generator) -> None:
    texts = unit(rng.normal(size=(300, 32)))
    real, training = (unit(texts + 0.1 * rng.normal(size=texts.shape)) for _ in range(2))
    deaf = measure(Sample(real[rng.permutation(300)], real, texts), real, training)
    assert deaf.kid.value <= deaf.kid_floor.value + 1e-6
    assert deaf.agreement.value < 0.05 < 0.9 < deaf.agreement_real.value
    assert not deaf.agreement.above_chance
    heard = measure(Sample(unit(texts + rng.normal(size=texts.shape)), real, texts), real, training)
    assert heard.agreement.above_chance
    assert heard.clip_shuffled.interval[1] < heard.clip_own.interval[0] < heard.clip_real.value


def test_shuffled_prompts_are_never_a_pictures_own() -> None:
    texts = np.eye(12, dtype=np.float32)
    for seed in range(5):
        assert measure(Sample(texts, texts, texts), texts, texts, seed=seed).clip_shuffled.value == 0.0
