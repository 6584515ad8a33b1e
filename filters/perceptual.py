"""Give pictures short names that survive scaling and re-encoding: 64-bit pHash and PDQ (256 bit)."""

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

PDQ_MAX_DISTANCE: Final = 31  # ThreatExchange pdq/signal.py: a match is 31 of 256 bits or fewer
PDQ_MIN_QUALITY: Final = 50  # below, the hash says little and is not to be matched
MIN_SIDE_PX: Final = 128  # a picture at least this large gives the hashes of its larger original, give or take few bits
_SIDE_PX = 32
_KEPT = 8
_PDQ_SIDE_PX = 512


def _cosines() -> NDArray[np.float32]:
    """Return the first 8 rows of the 32-point DCT-II, f32[8,32], unscaled as in ImageHash's phash."""
    k, n = np.arange(_KEPT)[:, None], np.arange(_SIDE_PX)[None, :]
    return (2 * np.cos(np.pi * k * (2 * n + 1) / (2 * _SIDE_PX))).astype(np.float32)


_DCT = _cosines()


def phash64(gray: NDArray[np.uint8]) -> bytes:
    """Hash u8[H,W]: low frequencies of a 32×32 thumbnail against their median, row by row, first bit highest.

    The bits are ImageHash's `phash` (8×8, DC included); the thumbnail is made by area averaging instead of Lanczos.
    """
    small = cv2.resize(gray, (_SIDE_PX, _SIDE_PX), interpolation=cv2.INTER_AREA).astype(np.float32)
    low = _DCT @ small @ _DCT.T
    return np.packbits(low.ravel() > np.median(low)).tobytes()


def pdq256(rgb: NDArray[np.uint8]) -> tuple[bytes, int]:
    """Hash u8[H,W,3]: 32 bytes whose hex is PDQ's usual form, and a quality of 0 to 100 (Facebook's PDQ paper, §4)."""
    import pdqhash

    side = max(rgb.shape[:2])
    if side > 2 * _PDQ_SIDE_PX:  # PDQ averages to 64×64 anyway; large pictures would only take longer
        scale = _PDQ_SIDE_PX / side
        size = (max(1, round(rgb.shape[1] * scale)), max(1, round(rgb.shape[0] * scale)))
        rgb = np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8)
    bits, quality = pdqhash.compute(rgb)
    return np.packbits(bits).tobytes(), int(quality)


def gray(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the luma (BT.601) of u8[H,W,3] as u8[H,W]."""
    return np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), np.uint8)


def hamming(a: bytes, b: bytes) -> int:
    """Count the bits in which two hashes of one length differ."""
    if len(a) != len(b):
        raise ValueError(f"hashes of {len(a)} and {len(b)} bytes cannot be compared")
    return (int.from_bytes(a, "big") ^ int.from_bytes(b, "big")).bit_count()
