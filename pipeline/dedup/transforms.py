"""What people do to pictures before they post them again: the alterations whose copies `--bench` looks for.

All take and give u8[H,W,3] RGB and are pure functions of the picture and the generator.
"""

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
Rng = np.random.Generator
_WORDS = ("new", "free", "share", "photo", "daily", "best", "of", "the", "week", "shop")


def jpeg(picture: Picture, quality: int) -> Picture:
    """Encode as a JPEG of this quality and decode again."""
    done, data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done
    return np.ascontiguousarray(np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)[..., ::-1])


def scaled(picture: Picture, factor: float) -> Picture:
    """Change the size; shrinking averages over areas."""
    height, width = picture.shape[:2]
    size = max(8, round(width * factor)), max(8, round(height * factor))
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(picture, size, interpolation=how), np.uint8)


def cropped(picture: Picture, frac: float, rng: Rng) -> Picture:
    """Keep a window of `frac` of both sides, anywhere."""
    height, width = picture.shape[:2]
    tall, wide = max(8, round(height * frac)), max(8, round(width * frac))
    top, left = int(rng.integers(0, height - tall + 1)), int(rng.integers(0, width - wide + 1))
    return np.ascontiguousarray(picture[top : top + tall, left : left + wide])


def padded(picture: Picture, frac: float, rng: Rng) -> Picture:
    """Add a plain border of `frac` of the longer side all around, light or dark."""
    edge = max(1, round(max(picture.shape[:2]) * frac))
    shade = 255 if rng.random() < 0.5 else 0
    return np.pad(picture, ((edge, edge), (edge, edge), (0, 0)), constant_values=shade)


def barred(picture: Picture, frac: float, rng: Rng) -> Picture:
    """Lay a bar with words over the lower `frac` of the height."""
    out = picture.copy()
    height = out.shape[0]
    tall = max(6, round(height * frac))
    paper, ink = (235, 25) if rng.random() < 0.5 else (20, 230)
    out[-tall:] = paper
    line = " ".join(rng.choice(_WORDS, 6).tolist())
    place = (4, height - max(2, tall // 4))
    cv2.putText(out, line, place, cv2.FONT_HERSHEY_SIMPLEX, tall / 44, (ink, ink, ink), 1, cv2.LINE_AA)
    return out


def marked(picture: Picture, rng: Rng) -> Picture:
    """Write a half-transparent address into the lower right corner."""
    height, width = picture.shape[:2]
    over = picture.copy()
    shade = 255 if rng.random() < 0.5 else 40
    place = (round(width * 0.6), round(height * 0.96))
    cv2.putText(over, "site.example", place, cv2.FONT_HERSHEY_SIMPLEX, width / 640, (shade,) * 3, 1, cv2.LINE_AA)
    return np.asarray(cv2.addWeighted(picture, 0.45, over, 0.55, 0), np.uint8)


def rotated(picture: Picture, degrees: float) -> Picture:
    """Turn about the middle within the frame; the rim's pixels fill the corners."""
    height, width = picture.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1.0)
    done = cv2.warpAffine(picture, turn, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(done, np.uint8)


def grey(picture: Picture) -> Picture:
    """Take the colours away."""
    return np.repeat(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)


TRANSFORMS: dict[str, Callable[[Picture, Rng], Picture]] = {
    "JPEG, quality 30": lambda picture, _: jpeg(picture, 30),
    "half size": lambda picture, _: scaled(picture, 0.5),
    "64 px": lambda picture, _: scaled(picture, 64 / max(picture.shape[:2])),
    "crop to 95 %": lambda picture, rng: cropped(picture, 0.95, rng),
    "crop to 90 %": lambda picture, rng: cropped(picture, 0.90, rng),
    "crop to 80 %": lambda picture, rng: cropped(picture, 0.80, rng),
    "border of 10 %": lambda picture, rng: padded(picture, 0.10, rng),
    "text bar": lambda picture, rng: barred(picture, 0.15, rng),
    "watermark": marked,
    "turned by 3°": lambda picture, rng: rotated(picture, 3.0 if rng.random() < 0.5 else -3.0),
    "mirrored": lambda picture, _: np.ascontiguousarray(picture[:, ::-1]),
    "grey": lambda picture, _: grey(picture),
}
"""Name → function of the picture and a generator."""
