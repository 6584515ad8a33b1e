"""A small real crawl in WARC files, drawn by the tests: pages and pictures, all in the crawl itself, so that runs need no network."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

COLOURS = ["red", "green", "blue", "orange", "purple", "black", "brown", "pink"]
SHAPES = ["circle", "square", "triangle", "cross"]


def picture(number: int, side_px: int = 160) -> tuple[bytes, str]:
    """Return a JPEG of a coloured shape on a textured ground, and a text that describes it; every number looks different."""
    rng = np.random.default_rng(number)
    ground = rng.integers(150, 255, (8, 8, 3), dtype=np.uint8)
    image = Image.fromarray(ground).resize((side_px, side_px), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(image)
    colour, shape = COLOURS[number % 8], SHAPES[number // 8 % 4]
    x, y, r = int(rng.integers(40, side_px - 40)), int(rng.integers(40, side_px - 40)), int(rng.integers(15, 38))
    if shape == "circle":
        draw.ellipse((x - r, y - r, x + r, y + r), fill=colour)
    elif shape == "square":
        draw.rectangle((x - r, y - r, x + r, y + r), fill=colour)
    elif shape == "triangle":
        draw.polygon([(x, y - r), (x - r, y + r), (x + r, y + r)], fill=colour)
    else:
        draw.line((x - r, y - r, x + r, y + r), fill=colour, width=9)
        draw.line((x - r, y + r, x + r, y - r), fill=colour, width=9)
    out = BytesIO()
    image.save(out, "JPEG", quality=90)
    return out.getvalue(), f"a {colour} {shape} drawn as number {number}"


def write_crawl(folder: Path, pictures: int = 60, sites: int = 6, files: int = 2, first: int = 0) -> list[Path]:
    """Write WARC files of `sites` sites with a page of pictures each; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number in range(files):
        path = folder / f"crawl-{first:04d}-{number}.warc.gz"
        with path.open("wb") as handle:
            writer = WARCWriter(handle, gzip=True)
            for site in range(number, sites, files):
                numbers = range(first + site, first + pictures, sites)
                host = f"http://site{site}.example"
                tags = "".join(f'<p><img src="/p/{n}.jpg" alt="{picture(n)[1]}"></p>' for n in numbers)
                _add(
                    writer,
                    f"{host}/index.html",
                    "text/html; charset=utf-8",
                    f"<html lang=en><body>{tags}</body></html>".encode(),
                )
                for n in numbers:
                    _add(writer, f"{host}/p/{n}.jpg", "image/jpeg", picture(n)[0])
        paths.append(path)
    return paths


def _add(writer: Any, url: str, content_type: str, body: bytes) -> None:
    headers = StatusAndHeaders(
        "200 OK", [("Content-Type", content_type), ("Content-Length", str(len(body)))], protocol="HTTP/1.1"
    )
    writer.write_record(writer.create_warc_record(url, "response", payload=BytesIO(body), http_headers=headers))


def config(path: Path, dataset: str, inputs: Sequence[Path | str], **sections: dict[str, Any]) -> Path:
    """Write a run's configuration; CLIP keeps all, small parts, one worker."""
    settings: dict[str, dict[str, Any]] = {
        "candidates": {"part_rows": 10},
        "text": {"max_pictures": 1000},
        "clip": {"threshold": -1.0},
        "pack": {"shard_samples": 15},
        "cluster": {"workers": 1},
    }
    for name, values in sections.items():
        settings[name] = {**settings.get(name, {}), **values}
    lines = [f"dataset = {json.dumps(dataset)}", f"inputs = {json.dumps([str(i) for i in inputs])}"]
    for name, values in settings.items():
        lines.append(f"[{name}]")
        lines += [f"{key} = {json.dumps(value)}" for key, value in values.items()]
    path.write_text("\n".join(lines) + "\n")
    return path


def tamis(*args: str | Path, check: bool = True, **kwargs: Any) -> subprocess.CompletedProcess[str]:
    """Run the command line in its own process, as a user does."""
    done = subprocess.run(
        [sys.executable, "-m", "tamis", *map(str, args)], capture_output=True, text=True, timeout=280, **kwargs
    )
    if check and done.returncode != 0:
        raise AssertionError(f"tamis {args} ended with {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done


PUBLISHED = ("snapshots", "shards", "embeddings", "index")


def published_digest(dataset: Path) -> dict[str, str]:
    """Return file → sha256 of everything that a published data set consists of, and of its data card."""
    files = [p for name in PUBLISHED for p in sorted((dataset / name).rglob("*")) if p.is_file()]
    return {
        str(p.relative_to(dataset)): hashlib.sha256(p.read_bytes()).hexdigest() for p in [*files, dataset / "README.md"]
    }
