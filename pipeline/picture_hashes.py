"""What a person's picture is recognised by, computed from its bytes as a fetch does; the picture itself is kept nowhere."""

import hashlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from filters import perceptual
from pipeline import image
from pipeline.errors import InputError


def picture_hashes(data: bytes, where: str) -> dict[str, str]:
    """Return sha256, md5, phash64 and PDQ of a picture in hex, PDQ's quality (0 to 100) as digits, and the seven turned PDQs.

    InputError when it cannot be decoded: then it could not have been in a data set as a picture either.
    """
    exact = {
        "sha256": hashlib.sha256(data).hexdigest(),
        "md5": hashlib.md5(data, usedforsecurity=False).hexdigest(),
    }
    decoded = image.decode(data, image.Shape(view_min_px=perceptual.MIN_SIDE_PX))
    if isinstance(decoded, image.Refusal):
        raise InputError(f"{where}: not a picture that can be read ({decoded.reason}: {decoded.detail})")
    original = (decoded.original_width_px, decoded.original_height_px)
    pdq, quality = perceptual.pdq256(decoded.view, original)
    phash = perceptual.phash64(perceptual.gray(decoded.view))
    turned = (perceptual.pdq256(view, size)[0].hex() for view, size in _turned(decoded.view, original))
    return {
        **exact,
        "phash64": phash.hex(),
        "pdq": pdq.hex(),
        "pdq_quality": str(quality),
        "pdq_turned": " ".join(turned),
    }


def _turned(view: NDArray[np.uint8], size: tuple[int, int]) -> Iterator[tuple[NDArray[np.uint8], tuple[int, int]]]:
    """Yield the seven other ways a picture can be turned and mirrored: PDQ tells them all apart (optout.md §7.3)."""
    for quarter in range(4):
        rotated = np.rot90(view, quarter)
        seen = size if quarter % 2 == 0 else (size[1], size[0])
        if quarter:
            yield np.ascontiguousarray(rotated), seen
        yield np.ascontiguousarray(rotated[:, ::-1]), seen
