"""The vector of a person's picture, by the model of the data set: what look-alikes are proposed by."""

import logging
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from pipeline.clip_spec import ModelSpec
from pipeline.errors import InputError
from pipeline.picture_hashes import picture_hashes
from pipeline.snapshot import latest
from pipeline.store import Store

LOG = logging.getLogger("tamis.optout")


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
    try:
        with Image.open(BytesIO(picture) if isinstance(picture, bytes) else picture) as opened:
            upright = ImageOps.exif_transpose(opened).convert("RGBA")
    except (OSError, Image.DecompressionBombError) as error:
        where = picture if isinstance(picture, Path) else "the picture"
        raise InputError(f"{where}: not a picture that can be read ({error})") from error
    from pipeline import clip_model

    white = Image.new("RGBA", upright.size, "white")
    rgb = np.asarray(Image.alpha_composite(white, upright).convert("RGB"))
    clip: Any = snapshot.config["clip"]
    model = clip_model.load(ModelSpec(clip["model"], clip["pretrained"], clip["precision"]), device)
    if snapshot.clip.get("weights_sha256") not in (None, model.weights_sha256):
        LOG.warning(
            "look-alikes cannot be looked for: the weights of %s are not those the data set was made with",
            clip["model"],
        )
        return {}
    vector = model.images(model.prepare(rgb)[None])[0]
    return {"vector": np.asarray(vector, np.float16).tobytes().hex()}
