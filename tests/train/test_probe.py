"""A probe of attributes, on vectors that hold them or do not."""

import numpy as np
import pytest

from pipeline.errors import InputError
from train.probe import NONE, Probe, attribute, labels
from train.quality import F32

STYLES = ("red", "blue")


def made(rng: np.random.Generator, rows: int, clear: float) -> tuple[F32, list[str]]:
    """Vectors of noise, in which the caption's word moves the first number."""
    words = rng.integers(0, 2, rows)
    vectors = rng.normal(size=(rows, 16)).astype(np.float32)
    vectors[:, 0] += clear * (2 * words - 1)
    return vectors, [f"a {STYLES[word]} thing" for word in words]


@pytest.mark.parametrize(
    ("caption", "found"),
    [
        ("a red apple", 0),
        ("RED!", 0),
        ("something blue", 1),
        ("a redder one", NONE),
        ("red and blue", NONE),
        ("", NONE),
    ],
)
def test_a_caption_has_the_one_word_that_it_holds(caption: str, found: int) -> None:
    assert labels([caption], STYLES).tolist() == [found]
    assert labels([], STYLES).shape == (0,)


def test_what_pictures_show_is_told_and_what_they_do_not_show_is_at_chance() -> None:
    rng = np.random.default_rng(3)
    training, real, shown, deaf = (made(rng, 300, clear) for clear in (3.0, 3.0, 3.0, 0.0))
    good, bad = (attribute(STYLES, training, one, real) for one in (shown, deaf))
    assert good.real.value > 0.95
    assert good.made.value > 0.95
    low, high = bad.made.interval
    assert low <= bad.made.chance <= high
    assert (bad.real.hits, bad.real.trials) == (good.real.hits, 300)


def test_rows_without_the_words_do_not_count() -> None:
    rng = np.random.default_rng(4)
    vectors, captions = made(rng, 60, 4.0)
    probe = Probe.fitted(vectors, labels(captions, STYLES), 2)
    truth = labels([*captions[:30], *["something else"] * 30], STYLES)
    assert probe.right(vectors, truth).trials == 30


def test_a_word_without_examples_is_named() -> None:
    rng = np.random.default_rng(5)
    one = made(rng, 20, 1.0)
    with pytest.raises(InputError, match=r"--words red,green: no caption among 20 training rows holds 'green' alone"):
        attribute(("red", "green"), one, one, one)
