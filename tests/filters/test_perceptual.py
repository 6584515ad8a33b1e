"""Perceptual hashes: known values, and what they survive."""

import cv2
import numpy as np
import pdqhash
import pytest
from numpy.typing import NDArray

from filters.perceptual import MIN_SIDE_PX, PDQ_MAX_DISTANCE, gray, hamming, pdq256, phash64


def scene(seed: int, width: int = 640, height: int = 480) -> NDArray[np.uint8]:
    """Draw soft shapes, so that the hash has something to hold on to."""
    rng = np.random.default_rng(seed)
    picture = np.full((height, width, 3), 128.0, np.float32)
    for cells in (3, 6, 12, 24):
        noise = rng.normal(0, 60 / cells**0.5, (cells, cells, 3)).astype(np.float32)
        picture += cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    return picture.clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("size", [(64, 64), (65, 64), (128, 129), (200, 333), (640, 480), (1001, 701)])
def test_pdq_of_an_unscaled_picture_is_the_reference_implementations(size: tuple[int, int]) -> None:
    for seed in range(5):
        picture = scene(seed, *size)
        bits, quality = pdqhash.compute(picture)
        ours, our_quality = pdq256(picture)
        assert hamming(ours, np.packbits(bits).tobytes()) <= 2  # ties at the median
        assert our_quality == quality


@pytest.mark.parametrize("side_px", [MIN_SIDE_PX, 256, 320])
def test_pdq_of_a_smaller_copy_is_its_originals_when_told_the_size(side_px: int) -> None:
    told, untold = [], []
    for seed in range(12):
        picture = scene(seed, 800, 600)
        small = np.asarray(cv2.resize(picture, (side_px * 4 // 3, side_px), interpolation=cv2.INTER_AREA), np.uint8)
        reference = pdq256(picture)[0]
        told.append(hamming(reference, pdq256(small, (800, 600))[0]))
        untold.append(hamming(reference, pdq256(small)[0]))
    assert max(told) <= 6
    assert sum(told) * 2 < sum(untold)  # the reason for telling


def test_pdq_survives_jpeg_and_tells_pictures_apart() -> None:
    picture = scene(1)
    again = cv2.imdecode(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 30])[1], cv2.IMREAD_COLOR)
    assert hamming(pdq256(picture)[0], pdq256(np.asarray(again, np.uint8))[0]) <= PDQ_MAX_DISTANCE
    assert hamming(pdq256(picture)[0], pdq256(scene(2))[0]) > 80


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (2, 3)])
def test_the_smallest_pictures_have_hashes_too(shape: tuple[int, int]) -> None:
    picture = np.full((*shape, 3), 77, np.uint8)
    digest, quality = pdq256(picture, (2000, 1000))
    assert (len(digest), quality) == (32, 0)
    assert len(phash64(gray(picture))) == 8


def test_phash_is_the_dct_of_a_thumbnail_against_its_median() -> None:
    luma = gray(scene(3))
    small = cv2.resize(luma, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float64)
    n = np.arange(32)
    basis = np.array([np.cos(np.pi * k * (2 * n + 1) / 64) for k in range(8)])
    low = basis @ small @ basis.T
    expected = np.packbits((low > np.median(low)).ravel()).tobytes()
    assert phash64(luma) == expected


def test_phash_survives_scaling_and_tells_pictures_apart() -> None:
    luma = gray(scene(4))
    half = np.asarray(cv2.resize(luma, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), np.uint8)
    assert hamming(phash64(luma), phash64(half)) <= 2
    assert hamming(phash64(luma), phash64(gray(scene(5)))) >= 16


def test_hashes_of_different_lengths_are_not_compared() -> None:
    with pytest.raises(ValueError, match="8 and 32 bytes"):
        hamming(bytes(8), bytes(32))
