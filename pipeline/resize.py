"""Shrink, enlarge, crop and pad pictures held as arrays (u8[H,W,3]), with img2dataset's meaning of the modes."""

import math
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
Mode = Literal["keep_ratio", "keep_ratio_largest", "border", "center_crop", "no"]

WHITE = (255, 255, 255)
# A scaled decode is taken only where this much is left to shrink. Delivered pictures against Lanczos from the full one,
# compared with a full decode and INTER_AREA (tests/bench/bench_resize_quality.py): 1.15 to 1.3: -0.4 dB; above: +0.5 dB.
MIN_RESIDUAL = 1.15
# Five symmetric taps [b, a, 1-2a-2b, a, b] before bicubic sampling: they keep out what the smaller grid cannot hold.
# Fitted per shrink factor on 28 photographs for the smallest error against Lanczos from the full picture.
_FACTOR = (1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.7, 1.8, 2.0)
_TAP_A = (0.03, 0.06, 0.12, 0.14, 0.17, 0.18, 0.22, 0.22, 0.22)
_TAP_B = (-0.02, -0.04, -0.05, -0.06, -0.06, -0.06, -0.06, -0.05, -0.04)


class Scratch:
    """Give out the same memory again and again, one array a name; what it gave out last is then overwritten.

    Fresh arrays of this size come from the kernel page by page: 220 page faults a picture, a quarter of all time spent.
    """

    def __init__(self, max_bytes: int = 8_000_000) -> None:
        self._max_bytes = max_bytes
        self._kept: dict[str, NDArray[np.uint8]] = {}

    def flat(self, name: str, size: int) -> NDArray[np.uint8]:
        """Return u8[size], uninitialised."""
        kept = self._kept.get(name)
        if kept is None or kept.size < size:
            kept = np.empty(size, np.uint8)
            if size <= self._max_bytes:
                self._kept[name] = kept
        return kept[:size]

    def picture(self, name: str, width: int, height: int) -> Picture:
        """Return u8[height,width,3], uninitialised."""
        return self.flat(name, width * height * 3).reshape(height, width, 3)


def target_size(width: int, height: int, *, size_px: int, mode: Mode, upscale: bool) -> tuple[int, int]:
    """Return the (width, height) to resample to, before any cropping or padding."""
    if mode == "no":
        return width, height
    reference = max(width, height) if mode in ("border", "keep_ratio_largest") else min(width, height)
    if reference == size_px or (reference < size_px and not upscale):
        return width, height
    scale = size_px / reference
    return max(1, round(width * scale)), max(1, round(height * scale))


def jpeg_eighths(width: int, height: int, target: tuple[int, int]) -> int:
    """Return the DCT scale (1, 2, 4 or 8 eighths) that leaves at least MIN_RESIDUAL to shrink on both sides."""
    factor = min(width / target[0], height / target[1])
    return next((eighths for eighths in (1, 2, 4) if factor * eighths / 8 >= MIN_RESIDUAL), 8)


def resample(
    picture: Picture,
    target: tuple[int, int],
    *,
    span: tuple[float, float] | None = None,
    scratch: Scratch | None = None,
) -> Picture:
    """Resample to (width, height); with `scratch`, the result lies in it.

    `span` is the picture's true extent in its own pixels: a scaled JPEG's last column may stand for less than a
    whole one, and ignoring that shifts edges by up to half a pixel.
    """
    scratch = scratch or Scratch()
    height, width = picture.shape[:2]
    if (width, height) == target:
        return picture
    across, down = span or (float(width), float(height))
    factor = min(across / target[0], down / target[1])
    if factor >= 2.0:
        return _sample(picture, target, (across, down), cv2.INTER_AREA, scratch)
    if factor <= 1.0:
        return _sample(picture, target, (across, down), cv2.INTER_LANCZOS4, scratch)
    a, b = np.interp(factor, _FACTOR, _TAP_A), np.interp(factor, _FACTOR, _TAP_B)
    taps = np.array([b, a, 1 - 2 * a - 2 * b, a, b], np.float32)
    filtered = scratch.picture("filtered", width, height)
    filtered = cv2.sepFilter2D(picture, -1, taps, taps, dst=filtered, borderType=cv2.BORDER_REPLICATE)
    return _sample(np.asarray(filtered, np.uint8), target, (across, down), cv2.INTER_CUBIC, scratch)


def _sample(
    picture: Picture, target: tuple[int, int], span: tuple[float, float], method: int, scratch: Scratch
) -> Picture:
    height, width = picture.shape[:2]
    out = scratch.picture(f"resized {target}", *target)
    if span != (width, height):
        # OpenCV rounds width * fx to the output's size, but samples with fx itself: so fractions of a pixel count.
        fx, fy = target[0] / span[0], target[1] / span[1]
        if (round(width * fx), round(height * fy)) == target and method != cv2.INTER_AREA:
            return np.asarray(cv2.resize(picture, None, out, fx, fy, method), np.uint8)
        picture = picture[: math.floor(span[1]), : math.floor(span[0])]
    return np.asarray(cv2.resize(picture, target, out, interpolation=method), np.uint8)


def frame(picture: Picture, *, size_px: int, mode: Mode) -> Picture:
    """Cut the middle square (center_crop) or pad with white to a square (border); other modes change nothing."""
    height, width = picture.shape[:2]
    if mode == "center_crop":
        side_w, side_h = min(size_px, width), min(size_px, height)
        left, top = (width - side_w) // 2, (height - side_h) // 2
        return np.ascontiguousarray(picture[top : top + side_h, left : left + side_w])
    if mode == "border" and (width < size_px or height < size_px):
        left, top = max(0, size_px - width) // 2, max(0, size_px - height) // 2
        right, bottom = max(0, size_px - width - left), max(0, size_px - height - top)
        padded = cv2.copyMakeBorder(picture, top, bottom, left, right, cv2.BORDER_CONSTANT, value=WHITE)
        return np.asarray(padded, np.uint8)
    return picture


def orient(picture: Picture, orientation: int) -> Picture:
    """Turn and mirror as EXIF's Orientation (1 to 8, TIFF 6.0 p. 36) says the picture is to be seen."""
    if orientation in (5, 6, 7, 8):
        picture = picture.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        picture = picture[:, ::-1]
    if orientation in (3, 4, 7, 8):
        picture = picture[::-1]
    return np.ascontiguousarray(picture)
