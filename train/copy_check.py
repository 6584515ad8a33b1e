"""Is a made picture a copy of a training row? Vectors propose, pixels say, as among the rows themselves.

Rows that were erased have no vector and no pixels any more; where the registry lists their perceptual hashes, those say it.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from filters.alignment import thumbnail
from filters.pixels import agreement
from pipeline.errors import InputError
from pipeline.rows import decode_stored
from pipeline.snapshot import require_latest
from pipeline.store import Store
from train.making import Check, Finding, Near

Neighbour = tuple[str, float, bytes]
"""uid, cosine, stored picture."""
Neighbours = Callable[[NDArray[np.float32], int], Sequence[Neighbour]]
"""(unit vector f32[D], k) → the nearest rows of the training set."""
Look = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""u8[H,W,3] RGB → its unit vector f32[D]."""

Removed = Callable[[NDArray[np.uint8]], bool]
"""u8[H,W,3] RGB → whether it looks like a picture that the registry lists."""

COPY_AGREEMENT: Final = 0.90
"""Share of the 256 blocks that must agree. Below that of stored copies (0.995): a model redraws, it does not re-encode."""
_NEIGHBOURS: Final = 10


def same_vectors(dataset: str, clip: Mapping[str, Any]) -> None:
    """Refuse to compare with a data set whose vectors another model made than the one that pictures are looked at with."""
    found = require_latest(Store.open_url(dataset))
    if (
        None not in (theirs := found.clip.get("weights_sha256"), clip.get("weights_sha256"))
        and theirs != clip["weights_sha256"]
    ):
        raise InputError(
            f"{dataset} was embedded with {found.clip.get('model')} (weights {theirs}), the model learnt from {clip.get('model')} "
            f"(weights {clip['weights_sha256']}); their vectors find nothing in each other: compare with a data set of that encoder"
        )


def against(
    look: Look, nearest: Neighbours, removed: Removed | None = None, least_agreement: float = COPY_AGREEMENT
) -> Check:
    """Return a check of made pictures against the training rows: the most agreeing of the ten nearest.

    Training shows half of the pictures mirrored, so the mirrored picture is compared too.
    """

    def check(picture: Image.Image) -> Finding:
        pixels = np.asarray(picture.convert("RGB"))
        found = []
        for view in (pixels, np.ascontiguousarray(pixels[:, ::-1])):
            mine = thumbnail(view)
            for uid, cos, stored in nearest(look(view), _NEIGHBOURS):
                agrees = float(agreement(mine, thumbnail(decode_stored(stored))))
                found.append(Near(uid, float(cos), round(agrees, 4), agrees >= least_agreement))
        near = max(found, key=lambda near: (near.agreement, near.cos), default=None)
        return Finding(near, removed is not None and removed(pixels))

    return check
