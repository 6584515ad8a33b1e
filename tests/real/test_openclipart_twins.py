"""openclipart's pictures exist as PNG and as SVG, drawn by different renderers years apart: near-copies nobody planted."""

import os
import struct
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from pipeline.copies import find
from tests.copy_measure import count, embed, features
from tests.planted import Planted, decode, rasterise, really_identical, resized

CORPORA = Path(os.environ.get("TAMIS_CORPORA", ".corpora"))
PNG = CORPORA / "deb/openclipart-png/usr/share/openclipart/png"
SVG = CORPORA / "deb/openclipart-svg/usr/share/openclipart/svg"
TWINS, OTHERS = 200, 600


@pytest.mark.real
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("stars", "least_recall", "least_precision"), [(False, 0.90, 0.90), (True, 0.80, 0.50)])
def test_png_and_svg_of_one_picture_are_grouped_and_others_are_not(
    stars: bool, least_recall: float, least_precision: float
) -> None:
    """With and without shapes/stars: 2,000 hairline spirographs that differ in two parameters, 100 px wide as PNG."""
    if not (PNG.is_dir() and SVG.is_dir()):
        pytest.skip(f"no openclipart below {CORPORA}: run `make real`, or set TAMIS_CORPORA to a folder that has it")
    both = sorted(str(path.relative_to(PNG)).removesuffix(".png") for path in PNG.rglob("*.png"))
    both = [name for name in both if (SVG / f"{name}.svg").is_file()]
    assert len(both) > 7_000
    both = [name for name in both if stars or not name.startswith("shapes/stars/")]
    shuffled = (both[i] for i in np.random.default_rng(5).permutation(len(both)).tolist())
    # one of them has 623 million pixels
    picked = list(islice((name for name in shuffled if _pixels(PNG / f"{name}.png") < 25e6), TWINS + OTHERS))
    pngs = [decode((PNG / f"{name}.png").read_bytes()) for name in picked]
    pngs = [resized(picture, 256) if max(picture.shape[:2]) > 256 else picture for picture in pngs]
    svgs = [_rendered(SVG / f"{name}.svg") for name in picked[:TWINS]]
    rows = [row for row, picture in enumerate(svgs) if picture is not None]
    assert len(rows) >= 0.97 * TWINS
    pictures = pngs + [picture for picture in svgs if picture is not None]
    planted = Planted(pictures, np.asarray([*range(len(pngs)), *rows]), [""] * len(pngs) + ["svg_twin"] * len(rows))
    counts = count(find(features(pictures, embed(pictures)), pictures.__getitem__), planted, really_identical(pngs))
    counts.show(f"openclipart {'with' if stars else 'without'} stars, {len(rows)} SVGs among {len(pngs)} PNGs")
    assert counts.recall >= least_recall
    assert counts.precision >= least_precision


def _pixels(path: Path) -> int:
    with path.open("rb") as file:
        width, height = struct.unpack(">II", file.read(24)[16:])
    return int(width * height)


def _rendered(path: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]] | None:
    try:
        picture = rasterise(path, width_px=256)
    except ValueError:
        return None  # broken SVG: a few use entities or units that the renderer refuses
    return resized(picture, 256) if max(picture.shape[:2]) > 256 else picture
