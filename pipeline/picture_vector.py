"""The vector of a person's picture, by the model of the data set: what look-alikes are proposed by."""

import logging
from pathlib import Path
from typing import Any, Final

import numpy as np

from pipeline import image
from pipeline.clip_spec import ModelSpec
from pipeline.errors import InputError
from pipeline.picture_hashes import picture_hashes
from pipeline.snapshot import latest
from pipeline.store import Store

LOG = logging.getLogger("tamis.optout")
_SIDE_PX: Final = 512
"""Shorter side that a picture is brought down to: more than CLIP models look at."""
_GATE: Final = image.PixelGate(100_000_000)
"""Pixels decoded at once, in all threads together."""


def recognised(store: Store, picture: Path | bytes) -> dict[str, str]:
    """Return what a picture is recognised by: its hashes and, where there is a data set to compare with, its vector."""
    where = str(picture) if isinstance(picture, Path) else "the picture"
    try:
        data = picture.read_bytes() if isinstance(picture, Path) else picture
    except OSError as error:
        raise InputError(f"{where}: {error.strerror}") from error
    return picture_hashes(data, where) | picture_vector(store, data)


def picture_vector(store: Store, picture: Path | bytes, device: str = "auto") -> dict[str, str]:
    """Return {"vector": f16[D] unit norm in hex}, or nothing where the data set has no vectors of this model to compare with.

    That is so without a snapshot, and where the model's weights are others by now: cosines of two models mean nothing, and a
    person's request must not fail over that, since hashes still tell. InputError when the file is no picture. Loads torch; a
    GPU is used where there is one.
    """
    snapshot = latest(store)
    if snapshot is None:
        return {}
    where = picture if isinstance(picture, Path) else "the picture"
    try:
        data = picture.read_bytes() if isinstance(picture, Path) else picture
    except OSError as error:
        raise InputError(f"{where}: {error.strerror}") from error
    decoded = image.decode(data, image.Shape(_SIDE_PX), _GATE)
    if isinstance(decoded, image.Refusal):
        raise InputError(f"{where}: not a picture that can be read ({decoded.reason}: {decoded.detail})")
    from pipeline import clip_model

    clip: Any = snapshot.config["clip"]
    model = clip_model.load(ModelSpec(clip["model"], clip["pretrained"], clip["precision"]), device)
    if snapshot.clip.get("weights_sha256") not in (None, model.weights_sha256):
        LOG.warning(
            "look-alikes cannot be looked for: the weights of %s are not those the data set was made with",
            clip["model"],
        )
        return {}
    vector = model.images(model.prepare(decoded.pixels)[None])[0]
    return {"vector": np.asarray(vector, np.float16).tobytes().hex()}
