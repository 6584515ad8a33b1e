"""Give pictures short names that survive scaling and re-encoding: 64-bit pHash and PDQ (256 bit)."""

from functools import lru_cache
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

PDQ_MAX_DISTANCE: Final = 31  # ThreatExchange pdq/signal.py: a match is 31 of 256 bits or fewer
PDQ_MIN_QUALITY: Final = 50  # below, the hash says little and is not to be matched
MIN_SIDE_PX: Final = 192  # a picture at least this large gives its larger original's hashes, give or take few bits

Matrix = NDArray[np.float32]


def _cosines(first: int, rows: int, points: int) -> Matrix:
    """Return rows `first`… of the DCT-II over `points` samples, f32[rows,points], unscaled."""
    k, n = np.arange(first, first + rows)[:, None], np.arange(points)[None, :]
    return np.cos(np.pi * k * (2 * n + 1) / (2 * points)).astype(np.float32)


_PHASH_PX: Final = 32
_PHASH_DCT: Final = _cosines(0, 8, _PHASH_PX)
_PDQ_PX: Final = 64
_PDQ_EXACT_PX: Final = 4096
_PDQ_DCT: Final = _cosines(1, 16, _PDQ_PX)  # the constant component is left out


def gray(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the luma (BT.601) of u8[H,W,3] as u8[H,W]."""
    return np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), np.uint8)


def phash64(luma: NDArray[np.uint8]) -> bytes:
    """Hash u8[H,W]: low frequencies of a 32×32 thumbnail against their median, row by row, first bit highest.

    The bits are ImageHash's `phash` (8×8, the constant included); the thumbnail is averaged by area instead of Lanczos.
    """
    small = cv2.resize(luma, (_PHASH_PX, _PHASH_PX), interpolation=cv2.INTER_AREA).astype(np.float32)
    low = _PHASH_DCT @ small @ _PHASH_DCT.T
    return np.packbits(low.ravel() > np.median(low)).tobytes()


def pdq256(rgb: NDArray[np.uint8], original: tuple[int, int] | None = None) -> tuple[bytes, int]:
    """Hash u8[H,W,3]: 32 bytes whose hex is PDQ's usual form, and a quality of 0 to 100.

    PDQ's blur depends on the size in whole pixels, so a smaller copy has another hash (20 bits off at 256 px, of 31
    allowed). Given the `original` (width, height) of which `rgb` is a smaller copy, this is the original's hash, nearly.
    Algorithm: "The TMK+PDQF Video-Hashing Algorithm and the PDQ Image-Hashing Algorithm", Facebook 2019, and its C++ code.
    """
    height, width = rgb.shape[:2]
    full_width, full_height = original or (width, height)
    luma = np.asarray(cv2.cvtColor(rgb.astype(np.float32), cv2.COLOR_RGB2GRAY), np.float32)
    small = _shrunk(_shrunk(luma, full_height).T, full_width).T
    low = _PDQ_DCT @ small @ _PDQ_DCT.T
    median = np.partition(low.ravel(), 127)[127]
    return np.packbits((low > median).ravel()[::-1]).tobytes(), _quality(small)


def _shrunk(rows: Matrix, full: int) -> Matrix:
    """Bring f32[N,M], N rows of once `full`, to 64 rows as PDQ does.

    Sums over the few rows that count, and no matrix product: BLAS would start its threads for so little.
    """
    taken, weights = _shrinking(full, rows.shape[0])
    return np.asarray(np.einsum("rkc,rk->rc", rows[taken], weights), np.float32)


@lru_cache(maxsize=4096)
def _shrinking(full: int, given: int) -> tuple[NDArray[np.int64], Matrix]:
    """Return which of `given` pixels along a side of once `full` make PDQ's 64 samples, and how: i64[64,K], f32[64,K].

    PDQ takes a running mean, twice, and of that 64 samples. Only the window's length needs the true size.
    """
    full = max(full, given)
    while full > max(_PDQ_EXACT_PX, given):  # a window of 16 pixels or more may be halved
        full = max(given, -(-full // 2))
    window = (full + 2 * _PDQ_PX - 1) // (2 * _PDQ_PX)
    ahead = (window + 2) // 2
    taken = ((np.arange(_PDQ_PX) + 0.5) * full / _PDQ_PX).astype(np.int64)
    inner = taken[:, None] + np.arange(ahead - window, ahead)  # i64[64,window]: the samples of the outer mean
    inside = (inner >= 0) & (inner < full)
    low, high = np.clip(inner + ahead - window, 0, full), np.clip(inner + ahead, 0, full)
    share = inside / (inside.sum(axis=1, keepdims=True) * np.maximum(high - low, 1))
    steps = np.zeros((_PDQ_PX, full + 1))
    rows = np.broadcast_to(np.arange(_PDQ_PX)[:, None], inner.shape)
    np.add.at(steps, (rows, low), share)
    np.add.at(steps, (rows, high), -share)
    weights = _onto(np.cumsum(steps, axis=1)[:, :full], given)
    counts = weights > 1e-7  # sums that cancel leave dust
    first, last = counts.argmax(axis=1), given - counts[:, ::-1].argmax(axis=1)
    count = int((last - first).max())
    at = np.minimum(first, given - count)[:, None] + np.arange(count)
    return at, np.take_along_axis(weights, at, axis=1)


def _onto(weights: NDArray[np.float64], given: int) -> Matrix:
    """Carry weights over `full` samples to `given` samples of the same extent (linear interpolation, transposed)."""
    full = weights.shape[1]
    if full == given:
        return weights.astype(np.float32)
    if given == 1:
        return np.asarray(weights.sum(axis=1, keepdims=True), np.float32)
    place = ((np.arange(full) + 0.5) * given / full - 0.5).clip(0, given - 1)
    left = np.minimum(place.astype(np.int64), given - 2)
    starts = np.searchsorted(left, np.arange(given - 1))
    out = np.zeros((_PDQ_PX, given))
    out[:, :-1] = np.add.reduceat(weights * (left + 1 - place), starts, axis=1)
    out[:, 1:] += np.add.reduceat(weights * (place - left), starts, axis=1)
    return out.astype(np.float32)


def _quality(small: Matrix) -> int:
    """Return PDQ's measure of how much is in a picture: the sum of its steps, in whole hundredths of full scale."""
    steps = [
        np.abs(np.diff(small, axis=axis) * np.float32(100) / np.float32(255)).astype(np.int64).sum() for axis in (0, 1)
    ]
    return min(100, int(sum(steps)) // 90)


def hamming(a: bytes, b: bytes) -> int:
    """Count the bits in which two hashes of one length differ."""
    if len(a) != len(b):
        raise ValueError(f"hashes of {len(a)} and {len(b)} bytes cannot be compared")
    return (int.from_bytes(a, "big") ^ int.from_bytes(b, "big")).bit_count()
