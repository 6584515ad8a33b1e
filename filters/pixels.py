"""Tell copies of a picture from pictures that are merely alike, by comparing pixels block by block.

A copy may be re-encoded, resized, cropped, or carry a bar of text or a small mark at its edge. So the two are aligned,
and then every block of a 16 × 16 grid must agree, except those that one bar or one mark at the border explains. Likeness
is not counted: two clock faces agree in 95 % of their blocks, and the rest makes them different pictures.
"""

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from filters.alignment import IDENTITY, Pixels, Place, Thumbnail, locate, overlap, overlay, refine

GRID = 16
# Levels of 255 by which a block of a true copy may differ; above the largest seen on copies of 150 OpenMoji drawings:
# luma beyond what a neighbouring pixel shows (12 in a JPEG of quality 30, 32 in crops), block means of luma and chroma
_LUMA_LEVELS, _LUMA_MEAN_LEVELS, _CHROMA_MEAN_LEVELS = 40, 14.0, 14.0
# Correlation of luma over about a block's surroundings: 0.85 and more in 98 % of true copies, below 0.45 where two
# screenshots of one kind of dialog hold other words, which differ by few levels once they are small
_MIN_LOCAL_CORRELATION = 0.5
_FLAT_VARIANCE = 64.0
_CONTENT_LEVELS = 24
_FULL_CONTRAST_LEVELS, _LEAST_STRENGTH = 120.0, 0.25
_MIN_CORRELATION = 0.4
_MIN_OVERLAP = 0.55  # of the area of either picture
_BAR_ROWS = 3
_BAR_WIDTH_FRAC = 0.7
_MIN_CONTENT_BLOCKS = 8
_NEIGHBOURS = np.ones((3, 3), np.uint8)

Blocks = NDArray[np.bool_]


def _block_max(plane: NDArray[np.uint8]) -> NDArray[np.uint8]:
    rows = np.arange(GRID) * plane.shape[0] // GRID
    columns = np.arange(GRID) * plane.shape[1] // GRID
    return np.asarray(np.maximum.reduceat(np.maximum.reduceat(plane, rows, 0), columns, 1), np.uint8)


def _block_mean(planes: NDArray[np.int16]) -> NDArray[np.float32]:
    return np.asarray(cv2.resize(planes.astype(np.float32), (GRID, GRID), interpolation=cv2.INTER_AREA), np.float32)


def _local_correlation(a: NDArray[np.uint8], b: NDArray[np.uint8], flat: float) -> NDArray[np.uint8]:
    """Correlate two planes around every pixel; 0 to 200 for -1 to 1, and 200 where both vary by less than `flat`."""
    side = max(3, a.shape[0] // 14 | 1), max(3, a.shape[1] // 14 | 1)
    x, y = a.astype(np.float32), b.astype(np.float32)
    sums = cv2.blur(np.dstack([x, y, x * x, y * y]), side[::-1])
    cross = cv2.blur(x * y, side[::-1]) - sums[..., 0] * sums[..., 1]
    var_x = np.maximum(sums[..., 2] - sums[..., 0] ** 2, 0)
    var_y = np.maximum(sums[..., 3] - sums[..., 1] ** 2, 0)
    # the floor keeps one flat side from giving any value whatever
    correlation = np.clip(cross / np.maximum(np.sqrt(var_x * var_y), flat / 2), -1, 1)
    correlation[np.maximum(var_x, var_y) <= flat] = 1.0
    return np.asarray(np.round((correlation + 1) * 100), np.uint8)


def compare_blocks(left: Pixels, right: Pixels) -> tuple[Blocks, Blocks]:
    """Say which of 16 × 16 blocks of two aligned pictures u8[h,w,3] disagree, and which of them show anything."""
    one = cv2.GaussianBlur(cv2.cvtColor(left, cv2.COLOR_RGB2YCrCb), (0, 0), 0.7)
    two = cv2.GaussianBlur(cv2.cvtColor(right, cv2.COLOR_RGB2YCrCb), (0, 0), 0.7)
    a, b = np.ascontiguousarray(one[..., 0]), np.ascontiguousarray(two[..., 0])
    a_low, a_high, b_low, b_high = (op(p, _NEIGHBOURS) for p in (a, b) for op in (cv2.erode, cv2.dilate))
    # how far each pixel lies outside what the other picture shows within one pixel: blind to jitter, not to lines
    beyond = np.maximum(
        np.maximum(cv2.subtract(a, b_high), cv2.subtract(b_low, a)),
        np.maximum(cv2.subtract(b, a_high), cv2.subtract(a_low, b)),
    )
    texture = _block_max(np.maximum(cv2.subtract(a_high, a_low), cv2.subtract(b_high, b_low)))
    # a faint drawing differs from another faint one by few levels, so limits shrink with what there is to see
    seen = texture[texture > _CONTENT_LEVELS * _LEAST_STRENGTH]
    contrast = float(np.percentile(seen, 75)) if seen.size else _FULL_CONTRAST_LEVELS
    strength = float(np.clip(contrast / _FULL_CONTRAST_LEVELS, _LEAST_STRENGTH, 1.0))
    means = np.abs(_block_mean(one.astype(np.int16) - two))
    bad = _block_max(beyond) > _LUMA_LEVELS * strength
    bad |= means[..., 0] > _LUMA_MEAN_LEVELS * strength
    bad |= means[..., 1:].max(axis=2) > _CHROMA_MEAN_LEVELS
    unlike = 200 - _local_correlation(a, b, _FLAT_VARIANCE * strength**2)
    bad |= _block_max(unlike) > round((1 - _MIN_LOCAL_CORRELATION) * 100)
    return bad, texture > _CONTENT_LEVELS * strength


def _explanations(bad: Blocks) -> Iterator[Blocks]:
    nothing = np.zeros_like(bad)
    yield nothing
    for turns in range(4):
        turned = np.rot90(bad, turns)
        for rows in range(1, _BAR_ROWS + 1):
            # a bar crosses the picture; a single row may be the rim of an appended one
            if rows == 1 or turned[-rows:].any(axis=0).mean() >= _BAR_WIDTH_FRAC:
                bar = nothing.copy()
                np.rot90(bar, turns)[-rows:] = True
                yield bar
    at_rows, at_columns = np.nonzero(bad)
    top, bottom = int(at_rows.min()), int(at_rows.max()) + 1
    left, right = int(at_columns.min()), int(at_columns.max()) + 1
    height, width = bottom - top, right - left
    at_side = top == 0 or bottom == GRID or left == 0 or right == GRID
    in_corner = (top == 0 or bottom == GRID) and (left == 0 or right == GRID)
    flat = (top >= GRID - 2 or bottom <= 2 or left >= GRID - 2 or right <= 2) and max(height, width) <= GRID // 2
    if (flat and at_side) or (in_corner and height * width <= 12):
        mark = nothing.copy()
        mark[top:bottom, left:right] = True
        yield mark


def unexplained_frac(bad: Blocks, content: Blocks) -> float:
    """Give the share of blocks that disagree and are not covered by one bar or one small mark at the border."""
    if not bad.any():
        return 0.0
    least = int(bad.sum())
    for covered in _explanations(bad):
        seen = int((content & ~covered & ~bad).sum())
        # what is left must still be a picture, and most of it
        if seen >= max(_MIN_CONTENT_BLOCKS, int((content & ~bad).sum()) / 2):
            least = min(least, int((bad & ~covered).sum()))
    return least / bad.size


def _agreement_at(inner: Thumbnail, frame: Thumbnail, place: Place) -> float:
    bad, content = compare_blocks(*overlay(inner, frame, place))
    return 1.0 - unexplained_frac(bad, content)


def agreement(one: Thumbnail, two: Thumbnail, *, enough: float = 1.0) -> float:
    """Give the share in [0,1] of blocks in which two pictures agree where they overlap best; stop looking at `enough`.

    1 means a copy. Tried are: one stretched over the other, and each inside the other at the best place found.
    """
    best = _agreement_at(one, two, IDENTITY)
    if best >= enough:
        return best
    places = [(*locate(one, two), one, two), (*locate(two, one), two, one)]
    places.sort(key=lambda found: -found[0])
    for correlation, place, inner, frame in places:
        # the other way round is worth its millisecond only when the two fit about equally well
        if correlation < max(_MIN_CORRELATION, places[0][0] - 0.15):
            break
        sharp = refine(inner, frame, place)
        mine, theirs = overlap(sharp)
        if (
            min(mine.sx, mine.sy, theirs.sx, theirs.sy) <= 0
            or min(mine.sx * mine.sy, theirs.sx * theirs.sy) < _MIN_OVERLAP
        ):
            continue
        best = max(best, _agreement_at(inner, frame, sharp))
        if best >= enough:
            break
    return best
