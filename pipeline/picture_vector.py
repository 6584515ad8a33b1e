"""The vector of a person's picture, by the model of the data set: what look-alikes are proposed by."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from pipeline.clip_spec import ModelSpec
from pipeline.errors import InputError
from pipeline.snapshot import latest
from pipeline.store import Store


def picture_vector(store: Store, path: Path, device: str = "auto") -> dict[str, str]:
    """Return {"vector": f16[D] unit norm in hex}, or nothing where the data set has no snapshot to compare with.

    InputError when the file is no picture. Loads torch; a GPU is used where there is one.
    """
    snapshot = latest(store)
    if snapshot is None:
        return {}
    try:
        with Image.open(path) as opened:
            picture = ImageOps.exif_transpose(opened).convert("RGBA")
    except (OSError, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: not a picture that can be read ({error})") from error
    from pipeline import clip_model

    white = Image.new("RGBA", picture.size, "white")
    rgb = np.asarray(Image.alpha_composite(white, picture).convert("RGB"))
    clip: Any = snapshot.config["clip"]
    model = clip_model.load(ModelSpec(clip["model"], clip["pretrained"], clip["precision"]), device)
    vector = model.images(model.prepare(rgb)[None])[0]
    return {"vector": np.asarray(vector, np.float16).tobytes().hex()}
