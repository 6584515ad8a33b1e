"""Is a made picture a copy of a training row? Vectors propose, pixels say, as among the rows themselves."""

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from filters.alignment import thumbnail
from filters.pixels import agreement
from pipeline.rows import decode_stored
from train.making import Check, Near

Neighbour = tuple[str, float, bytes]
"""uid, cosine, stored picture."""
Neighbours = Callable[[NDArray[np.float32], int], Sequence[Neighbour]]
"""(unit vector f32[D], k) → the nearest rows of the training set."""
Look = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""u8[H,W,3] RGB → its unit vector f32[D]."""

COPY_AGREEMENT: Final = 0.90
"""Share of the 256 blocks that must agree. Below that of stored copies (0.995): a model redraws, it does not re-encode."""
_NEIGHBOURS: Final = 10


def against(look: Look, nearest: Neighbours, least_agreement: float = COPY_AGREEMENT) -> Check:
    """Return a check of made pictures against the training rows: the most agreeing of the ten nearest."""

    def check(picture: Image.Image) -> Near | None:
        pixels = np.asarray(picture.convert("RGB"))
        mine = thumbnail(pixels)
        found = []
        for uid, cos, stored in nearest(look(pixels), _NEIGHBOURS):
            agrees = float(agreement(mine, thumbnail(decode_stored(stored))))
            found.append(Near(uid, float(cos), round(agrees, 4), agrees >= least_agreement))
        return max(found, key=lambda near: (near.agreement, near.cos), default=None)

    return check
