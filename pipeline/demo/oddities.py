"""Bytes that real webs serve as pictures: unusual ones that are fine, and broken or hostile ones that are not."""

import gzip
import io
import struct
import zlib

import numpy as np
from PIL import Image

from pipeline.demo.pictures import Pixels, encode


def exif_rotated(pixels: Pixels) -> bytes:
    """Store the picture lying on its side, with EXIF orientation 6 to turn it upright."""
    lying = Image.fromarray(np.ascontiguousarray(np.rot90(pixels)[..., ::-1]))
    exif = Image.Exif()
    exif[0x0112] = 6
    return _saved(lying, "JPEG", quality=90, exif=exif)


def cmyk(pixels: Pixels) -> bytes:
    """Save as a CMYK JPEG, as print shops do."""
    return _saved(_image(pixels).convert("CMYK"), "JPEG", quality=90)


def grey(pixels: Pixels) -> bytes:
    """Save as a JPEG of one channel."""
    return _saved(_image(pixels).convert("L"), "JPEG", quality=90)


def progressive(pixels: Pixels) -> bytes:
    """Save as a progressive JPEG."""
    return _saved(_image(pixels), "JPEG", quality=90, progressive=True)


def deep(pixels: Pixels) -> bytes:
    """Save as a PNG of 16 bits a channel."""
    return encode(pixels.astype(np.uint16) * 257, "png")


def see_through(pixels: Pixels) -> bytes:
    """Save as a PNG whose paper is transparent black."""
    paper = (pixels == pixels[0, 0]).all(axis=2)
    rgba = np.dstack([pixels[..., ::-1], np.full(paper.shape, 255, np.uint8)])
    rgba[paper] = 0
    return _saved(Image.fromarray(rgba), "PNG")


def animated(pixels: Pixels) -> bytes:
    """Save as a GIF of three frames, the first one the picture."""
    frames = [_image(frame).convert("P") for frame in (pixels, 255 - pixels, pixels[::-1])]
    return _saved(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=200, loop=0)


def palette(pixels: Pixels) -> bytes:
    """Save as a GIF of one frame."""
    return _saved(_image(pixels).convert("P"), "GIF")


FINE = {
    "exif_rotated": (exif_rotated, "image/jpeg"),
    "cmyk": (cmyk, "image/jpeg"),
    "grey": (grey, "image/jpeg"),
    "progressive": (progressive, "image/jpeg"),
    "sixteen_bit": (deep, "image/png"),
    "transparent": (see_through, "image/png"),
    "animated_gif": (animated, "image/gif"),
    "palette_gif": (palette, "image/gif"),
}

SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="300" height="300"><circle cx="150" cy="150" r="90"/></svg>'
HTML = b"<!doctype html><title>Moved</title><p>The picture is on our <a href='/'>new site</a>, after the cookie banner."


def bomb(side_px: int) -> bytes:
    """Make a valid PNG of side_px² white pixels of one bit: a hundred kilobytes that would decode to gigabytes."""
    header = struct.pack(">IIBBBBB", side_px, side_px, 1, 0, 0, 0, 0)
    rows = zlib.compressobj(6)
    line = b"\0" + b"\xff" * ((side_px + 7) // 8)
    packed = b"".join(rows.compress(line * 100) for _ in range(side_px // 100)) + rows.flush()
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", packed) + _chunk(b"IEND", b"")


def gzip_bomb(size_bytes: int = 100_000_000) -> bytes:
    """Compress a hundred megabytes of nothing into a hundred kilobytes."""
    return gzip.compress(bytes(size_bytes), 1, mtime=0)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _image(pixels: Pixels) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(pixels[..., ::-1]))


def _saved(image: Image.Image, form: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()
