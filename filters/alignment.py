"""Lay one picture over another: where in the frame of one does the other sit, as a whole or as a crop?

Places are given as `Place(sx, sy, tx, ty)`: the point (x, y) of the inner picture, in fractions of its sides, lies at
(sx·x + tx, sy·y + ty) of the frame, in fractions of the frame's sides. The identity stretches one over the other.
"""

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

THUMB_PX = 128
_FINE_PX = 64
_COARSE_PX = 40
_MIN_TEMPLATE_PX = 8
# down to 0.8 of the largest that fits: a crop to 90 % of each side, with room for a bar besides; 4 % apart, since
# half a step moves the border of a 40 px template by less than a pixel
_MARGIN = 0.012
_RIM = 0.1
# luma levels at which an error counts half (a drawn line half a pixel off errs by 30), steps, one scale for both sides
_SCHEDULE = ((30.0, 5, True), (10.0, 3, False))
_SCALES = (1.0, 0.96, 0.92, 0.88, 0.84, 0.80)

Pixels = NDArray[np.uint8]
Plane = NDArray[np.float32]


class Place(NamedTuple):
    """Scale and shift of an inner picture in its frame, in fractions of the frame's sides."""

    sx: float
    sy: float
    tx: float
    ty: float


IDENTITY = Place(1.0, 1.0, 0.0, 0.0)


@dataclass(frozen=True)
class Thumbnail:
    """A picture made small once, for many comparisons."""

    rgb: Pixels
    """u8[h,w,3], long side at most 128 px."""
    fine: Plane
    """Slightly blurred luma, f32, long side 64 px."""
    coarse: Plane
    """Luma, f32, long side 40 px."""


def _fit(picture: Pixels | Plane, long_side_px: int) -> NDArray[np.generic]:
    height, width = picture.shape[:2]
    scale = long_side_px / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR))


def thumbnail(rgb: Pixels) -> Thumbnail:
    """Make the small versions of a picture, u8[H,W,3] RGB."""
    small = _fit(rgb, THUMB_PX) if max(rgb.shape[:2]) > THUMB_PX else rgb
    small = np.ascontiguousarray(small, dtype=np.uint8)
    luma = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32)
    fine = cv2.GaussianBlur(_fit(luma, _FINE_PX), (0, 0), 1.0)
    return Thumbnail(small, np.asarray(fine, np.float32), np.asarray(_fit(luma, _COARSE_PX), np.float32))


def locate(inner: Thumbnail, frame: Thumbnail) -> tuple[float, Place]:
    """Find `inner` in `frame` by normalised cross-correlation over scales; the correlation in [-1,1] and the place."""
    frame_h, frame_w = frame.coarse.shape
    inner_h, inner_w = inner.coarse.shape
    largest = min(1.0, frame_h * inner_w / (inner_h * frame_w))
    best = (-1.0, IDENTITY)
    for scale in _SCALES:
        sx = largest * scale
        sy = sx * (frame_w / frame_h) * (inner_h / inner_w)
        width, height = min(frame_w, round(frame_w * sx)), min(frame_h, round(frame_h * sy))
        if min(width, height) < _MIN_TEMPLATE_PX:
            continue
        template = cv2.resize(inner.coarse, (width, height), interpolation=cv2.INTER_AREA)
        surface = cv2.matchTemplate(frame.coarse, template, cv2.TM_CCOEFF_NORMED)
        _, peak, _, (x, y) = cv2.minMaxLoc(surface)
        if np.isfinite(peak) and peak > best[0]:
            # about the template's middle, since its sides were rounded and the place's are not
            best = (peak, Place(sx, sy, (x + width / 2) / frame_w - sx / 2, (y + height / 2) / frame_h - sy / 2))
    return best


def _matrix(place: Place, frame_hw: tuple[int, int], out_hw: tuple[int, int]) -> NDArray[np.float32]:
    # pixel centres lie at half-integers of the unit square, hence the halves
    (fh, fw), (oh, ow) = frame_hw, out_hw
    sx, sy, tx, ty = place
    x_shift, y_shift = (tx + sx * 0.5 / ow) * fw - 0.5, (ty + sy * 0.5 / oh) * fh - 0.5
    return np.array([[sx * fw / ow, 0, x_shift], [0, sy * fh / oh, y_shift]], np.float32)


def _warp(frame: NDArray[np.generic], place: Place, out_hw: tuple[int, int]) -> NDArray[np.generic]:
    return np.asarray(
        cv2.warpAffine(
            frame,
            _matrix(place, (frame.shape[0], frame.shape[1]), out_hw),
            (out_hw[1], out_hw[0]),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
    )


def refine(inner: Thumbnail, frame: Thumbnail, place: Place) -> Place:
    """Sharpen a place to a fraction of a pixel, by Gauss-Newton on luma.

    Cauchy weights keep overlays from pulling. First one scale for both directions, because a bar would squeeze the
    picture; then, from close by, each its own.
    """
    hw = (inner.fine.shape[0], inner.fine.shape[1])
    x = np.broadcast_to(((np.arange(hw[1], dtype=np.float32) + 0.5) / hw[1])[None, :], hw)
    y = np.broadcast_to(((np.arange(hw[0], dtype=np.float32) + 0.5) / hw[0])[:, None], hw)
    # the rim is not asked: that is where bars lie, and where an appended one would pull the edge inwards
    window = np.clip(np.minimum(np.minimum(x, 1 - x), np.minimum(y, 1 - y)) / _RIM - 0.5, 0, 1)
    slope_x = cv2.Sobel(frame.fine, cv2.CV_32F, 1, 0, scale=frame.fine.shape[1] / 8)
    slope_y = cv2.Sobel(frame.fine, cv2.CV_32F, 0, 1, scale=frame.fine.shape[0] / 8)
    stack = np.dstack([frame.fine, slope_x, slope_y])
    at = np.array(place, np.float64)
    for spread, steps, tied in _SCHEDULE:
        for _ in range(steps):
            warped = _warp(stack, Place(*at), hw).astype(np.float32, copy=False)
            dx, dy = warped[..., 1], warped[..., 2]
            error = inner.fine - warped[..., 0]
            weight = window / (1 + (error / spread) ** 2)
            if tied:
                basis = np.array([[at[0], at[1], 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
                jacobian = np.stack([dx * x * at[0] + dy * y * at[1], dx, dy])
            else:
                basis = np.eye(4)
                jacobian = np.stack([dx * x, dy * y, dx, dy])
            jacobian = jacobian.reshape(len(basis), -1)
            weighted = jacobian * weight.ravel()
            normal = (weighted @ jacobian.T).astype(np.float64)
            # damped, because a picture of stripes says nothing of one direction
            normal += np.eye(len(basis)) * (1e-3 * np.trace(normal) / len(basis) + 1e-3)
            step = np.clip(np.linalg.solve(normal, weighted @ error.ravel()), -0.05, 0.05) @ basis
            at += step
            if np.abs(step).max() < 5e-4:
                break
    return Place(*(float(value) for value in at))


def overlap(place: Place) -> tuple[Place, Place]:
    """Give the part both show: its place in the inner picture, and its place in the frame."""
    sx, sy, tx, ty = place
    # a little is left out at borders, where pixels mix with what the other picture does not show
    left, right = max(0.0, -tx / sx) + _MARGIN, min(1.0, (1 - tx) / sx) - _MARGIN
    top, bottom = max(0.0, -ty / sy) + _MARGIN, min(1.0, (1 - ty) / sy) - _MARGIN
    within = Place(right - left, bottom - top, left, top)
    return within, Place(sx * within.sx, sy * within.sy, tx + sx * left, ty + sy * top)


def _sample(rgb: Pixels, place: Place, hw: tuple[int, int]) -> Pixels:
    height, width = rgb.shape[:2]
    if place == IDENTITY and (height, width) == hw:
        return rgb
    shrink = max(place.sx * width / hw[1], place.sy * height / hw[0])
    if shrink > 1.05:
        # warpAffine does not average over the pixels it skips
        size = (max(1, round(width / shrink)), max(1, round(height / shrink)))
        rgb = np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8)
    return np.asarray(_warp(rgb, place, hw), np.uint8)


def overlay(inner: Thumbnail, frame: Thumbnail, place: Place, *, detail: float = 1.0) -> tuple[Pixels, Pixels]:
    """Show the common part of both at one size, u8[h,w,3] twice.

    The size is `detail` times what the coarser of the two resolves, so that neither is sharper than the other.
    """
    mine, theirs = overlap(place)
    width = min(mine.sx * inner.rgb.shape[1], theirs.sx * frame.rgb.shape[1])
    height = min(mine.sy * inner.rgb.shape[0], theirs.sy * frame.rgb.shape[0])
    hw = (max(16, round(height * detail)), max(16, round(width * detail)))
    return _sample(inner.rgb, mine, hw), _sample(frame.rgb, theirs, hw)
