"""Pictures with what is written about them: openclipart, and four drawings of each emoji."""

import hashlib
import io
import json
import re
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from defusedxml import ElementTree
from numpy.typing import NDArray
from PIL import Image

from train.mini.packages import Packages

HELD_OUT_FRAC: Final = 0.12
"""Share of openclipart's titles that nothing is learnt from."""
_BOILERPLATE: Final = 4
"""A title of more pictures than this says little about any of them (icon sets)."""
_SERIES: Final = 30
"""Files of one name but for their numbers: more than this are a generator's (stars)."""
_DC: Final = "{http://purl.org/dc/elements/1.1/}"
_LI: Final = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}li"


@dataclass(frozen=True)
class Drawing:
    """A picture file (PNG or SVG) and its captions, the title first."""

    source: str
    name: str
    data: bytes
    captions: tuple[str, ...]

    @property
    def held_out(self) -> bool:
        """Tell whether it is for measuring alone: a share of openclipart, by title."""
        digest = hashlib.blake2b(self.captions[0].lower().encode(), digest_size=8).digest()
        return self.source == "openclipart" and int.from_bytes(digest, "big") < HELD_OUT_FRAC * 2**64

    def pixels(self, side_px: int = 256) -> NDArray[np.uint8] | None:
        """Return u8[H,W,3] on white, no side longer than `side_px`; None where it cannot be read."""
        data = self.data
        try:
            if self.name.endswith(".svg"):
                import resvg_py

                data = bytes(resvg_py.svg_to_bytes(svg_string=data.decode(), width=side_px))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # some clip art is 13,000 pixels wide
                with Image.open(io.BytesIO(data)) as opened:
                    opened.thumbnail((side_px, side_px))
                    drawn = opened.convert("RGBA")
        except (OSError, ValueError, RuntimeError, Image.DecompressionBombError):
            return None
        white = Image.new("RGBA", drawn.size, "white")
        return np.asarray(Image.alpha_composite(white, drawn).convert("RGB"))


def drawings(packages: Packages) -> Iterator[Drawing]:
    """Yield every picture with a caption."""
    yield from clipart(packages)
    yield from emoji(packages)


def clipart(packages: Packages) -> Iterator[Drawing]:
    """Yield openclipart's pictures with the titles, descriptions and keywords of their SVG files."""
    told = {_stem(path): described(data) for path, data in packages.files("titles", ".svg")}
    said = Counter(captions[0].lower() for captions in told.values() if captions)
    called = {stem: _clean(stem.rsplit("/", 1)[-1]) for stem in told}
    series = {stem: re.sub(r"\d+", "", name.lower()) for stem, name in called.items()}
    names = Counter(series.values())
    for path, data in packages.files("clipart", ".png"):
        stem = _stem(path)
        captions = told.get(stem, ())
        if (
            captions and said[captions[0].lower()] > _BOILERPLATE
        ):  # the collection's title; the file's name may say more
            name = called[stem]
            captions = tuple(dict.fromkeys((name, *captions[1:]))) if name and names[series[stem]] <= _SERIES else ()
        if captions:
            yield Drawing("openclipart", stem + ".png", data, captions)


def _stem(path: str) -> str:
    return re.sub(r"^.*openclipart/(png|svg)/|\.(png|svg)$", "", path)


def described(svg: bytes) -> tuple[str, ...]:
    """Return the title, the description and the joined keywords of an SVG file's metadata; nothing where there is no title."""
    try:
        tree = ElementTree.fromstring(svg)
    except (ElementTree.ParseError, ValueError):
        return ()
    title = _clean(tree.findtext(f".//{_DC}title") or "")
    about = _clean(tree.findtext(f".//{_DC}description") or "")
    words = [_clean(one.text or "") for one in tree.iterfind(f".//{_DC}subject//{_LI}")]
    keywords = ", ".join(one for one in words if one and not one.startswith("unsorted"))
    return tuple(dict.fromkeys(one for one in (title, about, keywords) if one)) if title else ()


def _clean(text: str) -> str:
    text = re.sub(r"(?i)^clip ?art by [^-]*-", "", text)
    text = re.sub(r"[_\s]+", " ", text).strip(" -.")
    text = re.sub(r"[\s-]*\d+$", "", text)
    return text if re.search(r"[A-Za-z]{3}", text) and not text.lower().startswith("untitled") else ""


def emoji(packages: Packages) -> Iterator[Drawing]:
    """Yield Noto's, Twemoji's and Fluent's drawings with emojibase's labels and tags; of skin tones the first."""
    labels: dict[str, Any] = {}
    for path, data in packages.files("labels", "en/data.json"):
        labels |= {one["hexcode"]: one for one in json.loads(data)} if path.endswith("package/en/data.json") else {}
    captions = {code: _labelled(one) for code, one in labels.items()}
    for what in ("noto", "twemoji"):
        for path, data in packages.files(what, ".png", "/64/"):
            name = path.rsplit("/", 1)[-1]
            code = name.removesuffix(".png").upper()
            told = captions.get(code) or captions.get(code.replace("-FE0F", ""))
            if told:
                yield Drawing(what, name, data, told)
    by_name = {re.sub(r"[^a-z0-9]+", "-", one[0].lower()).strip("-"): one for one in captions.values()}
    for path, data in packages.files("fluent", ".svg", "/icons/"):
        style, name = path.rsplit("/", 2)[-2:]
        plain = name.removesuffix(".svg").removesuffix("-default")
        if style != "high-contrast" and not re.search(r"-(dark|light|medium)$", plain):
            yield Drawing("fluent", f"{style}-{name}", data, by_name.get(plain, (plain.replace("-", " "),)))


def _labelled(one: dict[str, Any]) -> tuple[str, ...]:
    tags = ", ".join(one.get("tags", []))
    return (one["label"], f"{one['label']}: {tags}") if tags else (one["label"],)
