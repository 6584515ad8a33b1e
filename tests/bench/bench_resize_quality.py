"""What scaled decoding and our resampling cost in quality, and how far hashes move; on real photographs.

`python tests/bench/bench_resize_quality.py FOLDER…`: every JPEG and PNG below the folders whose shorter side is larger
than the target. Delivered pictures (after JPEG q95) are compared with Pillow's Lanczos from the full picture, the best
shrinking we know; the peer is img2dataset's way: full decode, OpenCV INTER_AREA, JPEG q95. Prints JSON lines.
"""

import json
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[2]))

from filters import perceptual
from pipeline import image, resize

SIZES_PX = (128, 192, 224, 256, 320, 384)


def psnr_db(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Return the peak signal-to-noise ratio of two u8 pictures."""
    error = float(np.mean((a.astype(np.float64) - b) ** 2))
    return 99.0 if error == 0 else float(10 * np.log10(255**2 / error))


def as_jpeg(path: Path) -> bytes | None:
    """Return a file as an upright RGB JPEG (PNGs at quality 90), or None if it is nothing of the kind."""
    data = path.read_bytes()
    if path.suffix.lower() == ".png":
        with Image.open(path) as picture:
            if picture.mode not in ("RGB", "RGBA", "L"):
                return None
        decoded = image.decode(data, image.Shape(mode="no"))
        return image.encode(decoded.pixels, quality=90) if isinstance(decoded, image.Decoded) else None
    try:
        header = simplejpeg.decode_jpeg_header(data, strict=False)
    except ValueError:
        return None
    return data if header[2] == "YCbCr" else None


def delivered(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return what a reader of the shard sees."""
    return np.asarray(simplejpeg.decode_jpeg(image.encode(pixels)), np.uint8)


def compare(data: bytes, size_px: int) -> dict[str, float] | None:
    """Measure one picture at one size."""
    full = np.asarray(simplejpeg.decode_jpeg(data, strict=False), np.uint8)
    height, width = full.shape[:2]
    if min(height, width) <= size_px:
        return None
    target = resize.target_size(width, height, size_px=size_px, mode="keep_ratio", upscale=False)
    ours = image.decode(data, image.Shape(size_px=size_px))
    if not isinstance(ours, image.Decoded):
        return None
    area = np.asarray(cv2.resize(full, target, interpolation=cv2.INTER_AREA), np.uint8)
    best = np.asarray(Image.fromarray(full).resize(target, Image.Resampling.LANCZOS))
    eighths = resize.jpeg_eighths(width, height, target)
    unscaled = resize.resample(full, target)
    pdq_full, pdq_ours = perceptual.pdq256(full), perceptual.pdq256(ours.view, (width, height))
    phash = [perceptual.phash64(perceptual.gray(picture)) for picture in (full, ours.view)]
    return {
        "scaled": float(eighths < 8),
        "factor": min(width / target[0], height / target[1]) * eighths / 8,
        "ours_db": psnr_db(best, delivered(ours.pixels)),
        "area_db": psnr_db(best, delivered(area)),
        "scaled_against_full_db": psnr_db(unscaled, ours.pixels),
        "pdq_bits": float(perceptual.hamming(pdq_full[0], pdq_ours[0])) if pdq_full[1] >= 50 else float("nan"),
        "phash_bits": float(perceptual.hamming(*phash)),
    }


def main(folders: list[str]) -> None:
    """Measure everything below the folders."""
    files = sorted(p for f in folders for p in Path(f).rglob("*") if p.suffix.lower() in (".jpg", ".jpeg", ".png"))
    rows = [row for path in files if (data := as_jpeg(path)) for size in SIZES_PX if (row := compare(data, size))]
    groups = [("not scaled, shrunk less than 2 times", 0.0, 0.0, 2.0), ("not scaled, area", 0.0, 2.0, 99.0)]
    groups += [(f"scaled, then {low} to {high}", 1.0, low, high) for low, high in ((1.15, 1.3), (1.3, 1.6), (1.6, 2.3))]
    for name, scaled, low, high in groups:
        chosen = [row for row in rows if row["scaled"] == scaled and low <= row["factor"] < high]
        if not chosen:
            continue
        out: dict[str, Any] = {"claim": name, "pictures": len(chosen)}
        for key in ("ours_db", "area_db", "scaled_against_full_db"):
            values = [row[key] for row in chosen]
            out[key] = {"mean": round(float(np.mean(values)), 1), "min": round(min(values), 1)}
        losses = [row["ours_db"] - row["area_db"] for row in chosen]
        out["ours_minus_area_db"] = {"mean": round(float(np.mean(losses)), 2), "min": round(min(losses), 1)}
        for key in ("pdq_bits", "phash_bits"):
            bits = [row[key] for row in chosen if row[key] == row[key]]
            out[key] = {"mean": round(float(np.mean(bits)), 2), "p99": float(np.percentile(bits, 99)), "max": max(bits)}
        print(json.dumps(out), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
