"""Aspect buckets: the shapes that batches have, and how a picture is fitted into one."""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.resize import Scratch, resample

NONE = 255
"""Of a row that is in no bucket: erased before the run began."""


@dataclass(frozen=True)
class Bucket:
    """A shape in pixels."""

    height_px: int
    width_px: int


def buckets(side_px: int, *, multiple_px: int = 8, max_aspect: float = 1.0) -> tuple[Bucket, ...]:
    """Return shapes of about side_px² pixels with sides that are multiples, from portrait to landscape.

    With `max_aspect` 1 there is the square alone. As in NovelAI's aspect-ratio bucketing (2022), areas never exceed side_px².
    """
    area = side_px * side_px
    shapes = {(side_px, side_px)}
    width = multiple_px
    while width <= side_px * math.sqrt(max_aspect):
        height = area // width // multiple_px * multiple_px
        if height and max(height / width, width / height) <= max_aspect:
            shapes |= {(height, width), (width, height)}
        width += multiple_px
    return tuple(Bucket(*shape) for shape in sorted(shapes, key=lambda s: s[1] / s[0]))


def nearest(shapes: tuple[Bucket, ...], width_px: NDArray[np.int32], height_px: NDArray[np.int32]) -> NDArray[np.uint8]:
    """Return for each picture the number of the shape with the nearest aspect (of its logarithm), NONE where a side is 0."""
    aspects = np.log([one.width_px / one.height_px for one in shapes])
    there = (width_px > 0) & (height_px > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        mine = np.log(np.where(there, width_px, 1) / np.where(there, height_px, 1))
    found = np.abs(mine[:, None] - aspects[None]).argmin(axis=1)
    return np.where(there, found, NONE).astype(np.uint8)


def fit(
    picture: NDArray[np.uint8],
    shape: Bucket,
    across: float,
    down: float,
    mirrored: bool,
    scratch: Scratch | None = None,
) -> NDArray[np.uint8]:
    """Cut u8[H,W,3] to the shape's aspect where `across` and `down` in [0,1] say, scale it as the ingest does, mirror it if asked.

    With `scratch` the result lies in it, until the next picture.
    """
    height, width = picture.shape[:2]
    scale = min(height / shape.height_px, width / shape.width_px)
    cut_height, cut_width = (
        min(side, max(1, round(scale * px))) for side, px in ((height, shape.height_px), (width, shape.width_px))
    )
    top, left = round(down * (height - cut_height)), round(across * (width - cut_width))
    piece = picture[top : top + cut_height, left : left + cut_width]
    piece = resample(piece, (shape.width_px, shape.height_px), scratch=scratch)
    return np.asarray(cv2.flip(piece, 1), np.uint8) if mirrored else piece
