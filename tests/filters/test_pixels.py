import numpy as np
import pytest

from filters.alignment import thumbnail
from filters.pixels import agreement, unexplained_frac
from tests.planted import TRANSFORMS, Picture, cropped, openmoji

ENOUGH = 0.995
DRAWINGS = ("1F600", "1F697", "1F1E7-1F1F7", "1F5FC", "1F408", "1F468-200D-1F692")


def score(one: Picture, two: Picture) -> float:
    return agreement(thumbnail(one), thumbnail(two))


@pytest.mark.parametrize("how", sorted(TRANSFORMS))
def test_a_transformed_drawing_is_a_copy_either_way_round(how: str) -> None:
    for seed, name in enumerate(DRAWINGS):
        original = openmoji(name)
        copy = TRANSFORMS[how](original, np.random.default_rng(seed))
        assert score(original, copy) >= ENOUGH, name
        assert score(copy, original) >= ENOUGH, name


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("1F600", "1F603"),  # faces: eyes differ
        ("1F642", "1F641"),  # faces: mouth differs
        ("1F610", "1F611"),
        ("1F550", "1F551"),  # one o'clock, two o'clock
        ("1F554", "1F555"),
        ("1F1EB-1F1F7", "1F1EE-1F1F9"),  # France, Italy
        ("1F1EE-1F1EA", "1F1EE-1F1F9"),  # Ireland, Italy
        ("1F1E6-1F1FA", "1F1F3-1F1FF"),  # Australia, New Zealand
        ("1F534", "1F535"),
        ("2B06", "2B07"),
        ("1F44D", "1F44D-1F3FD"),  # skin tones
        ("1F9CE-1F3FE", "1F9CE-1F3FF"),
        ("1F468", "1F469"),
        ("0031-FE0F-20E3", "0037-FE0F-20E3"),  # keycaps
    ],
)
def test_drawings_of_one_family_are_different_pictures(one: str, two: str) -> None:
    assert score(openmoji(one), openmoji(two)) < ENOUGH
    for how in ("resized_64", "jpeg_q30", "cropped_centre"):
        copy = TRANSFORMS[how](openmoji(two), np.random.default_rng(0))
        assert score(openmoji(one), copy) < ENOUGH, how


def dialog(words: list[str]) -> Picture:
    import cv2

    picture = np.full((180, 240, 3), 230, np.uint8)
    cv2.rectangle(picture, (0, 0), (239, 22), (60, 60, 60), -1)
    for row, word in enumerate(words):
        cv2.putText(picture, word, (12, 50 + 26 * row), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (20, 20, 20), 1, cv2.LINE_AA)
        cv2.rectangle(picture, (130, 36 + 26 * row), (228, 54 + 26 * row), (250, 250, 250), -1)
    for x in (12, 90, 168):
        cv2.rectangle(picture, (x, 150), (x + 60, 172), (200, 200, 200), -1)
    return picture


def test_dialogs_that_differ_in_their_words_are_different_pictures() -> None:
    one, two = dialog(["Radius", "Amount", "Threshold"]), dialog(["Azimuth", "Elevation", "Depth"])
    assert score(one, one) == 1.0
    assert score(one, two) < ENOUGH


def test_two_crops_of_one_picture_are_compared_where_they_overlap() -> None:
    original = openmoji("1F5FC")
    assert score(cropped(original, 0.9, 0.0, 0.5), cropped(original, 0.9, 1.0, 0.5)) >= ENOUGH


def test_plain_pictures_agree_by_colour_only() -> None:
    red, blue = np.full((90, 90, 3), (200, 30, 30), np.uint8), np.full((90, 90, 3), (30, 30, 200), np.uint8)
    assert score(red, red[:60, :80]) == 1.0
    assert score(red, blue) < 0.5


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 2), (7, 9), (16, 16)])
def test_tiny_and_thin_pictures_are_compared_without_trouble(shape: tuple[int, int]) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    assert score(picture, picture) == 1.0
    assert 0.0 <= score(picture, openmoji("1F600")) <= 1.0


def blocks(*spans: tuple[slice, slice]) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
    bad = np.zeros((16, 16), np.bool_)
    for rows, columns in spans:
        bad[rows, columns] = True
    return bad


ALL = slice(None)


@pytest.mark.parametrize(
    ("bad", "left"),
    [
        (blocks(), 0),
        (blocks((slice(13, 16), ALL)), 0),  # a bar below
        (blocks((slice(0, 3), ALL)), 0),  # a bar above
        (blocks((ALL, slice(0, 3))), 0),  # a bar at the side
        (blocks((slice(12, 16), ALL)), 16),  # too high by one row
        (blocks((slice(14, 16), slice(8, 16))), 0),  # a mark in the corner
        (blocks((slice(13, 16), slice(12, 16))), 0),
        (blocks((slice(13, 16), slice(11, 16))), 10),  # too large for a mark; its last row could be a rim
        (blocks((slice(7, 9), slice(7, 9))), 4),  # in the middle nothing is explained
        (blocks((slice(13, 16), ALL), (slice(5, 6), slice(5, 6))), 1),
    ],
)
def test_one_bar_or_one_mark_at_the_border_explains_blocks_that_disagree(
    bad: np.ndarray[tuple[int, int], np.dtype[np.bool_]], left: int
) -> None:
    assert unexplained_frac(bad, np.ones((16, 16), np.bool_)) * 256 == left


def test_a_bar_explains_nothing_when_hardly_a_picture_is_left() -> None:
    bad = blocks((slice(13, 16), ALL))
    content = bad.copy()
    content[0, :7] = True
    assert unexplained_frac(bad, content) * 256 == 48
    content[0, 7] = True
    assert unexplained_frac(bad, content) * 256 == 0
