"""What a person's picture is recognised by, computed from its bytes as a fetch does; the picture itself is kept nowhere."""

import hashlib

from filters import perceptual
from pipeline import image
from pipeline.errors import InputError


def picture_hashes(data: bytes, where: str) -> dict[str, str]:
    """Return sha256, md5, phash64 and PDQ of a picture in hex, and PDQ's quality (0 to 100) as digits.

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
    return {**exact, "phash64": phash.hex(), "pdq": pdq.hex(), "pdq_quality": str(quality)}
