"""A picture that somebody gives with a question or a request, as a file or as bytes."""

from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from pipeline.errors import InputError
from pipeline.image import MAX_PX


def read_rgb(picture: bytes | Path) -> NDArray[np.uint8]:
    """Return an encoded picture, upright and on white, as u8[H,W,3]; InputError when it is none or too large."""
    name = picture if isinstance(picture, Path) else "the picture"
    try:
        with Image.open(picture if isinstance(picture, Path) else BytesIO(picture)) as opened:
            if opened.width * opened.height > MAX_PX:
                raise InputError(f"{name}: {opened.width} × {opened.height} pixels; at most {MAX_PX:,} are read")
            opened.draft("RGB", (1024, 1024))  # a JPEG is decoded no larger than a model can use
            upright = ImageOps.exif_transpose(opened).convert("RGBA")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{name}: not a picture that can be read ({error})") from error
    white = Image.new("RGBA", upright.size, "white")
    return np.asarray(Image.alpha_composite(white, upright).convert("RGB"))
