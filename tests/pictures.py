"""Pictures of every awkward kind, made on the spot; each shows the same: red above, blue below."""

import io
import struct
import zlib
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

RED, BLUE = (220, 30, 30), (30, 30, 220)


def scene(width: int = 400, height: int = 300) -> NDArray[np.uint8]:
    """Draw red above blue, with soft noise, u8[H,W,3]."""
    picture = np.empty((height, width, 3), np.uint8)
    picture[: height // 2], picture[height // 2 :] = RED, BLUE
    noise = np.random.default_rng(0).integers(0, 12, picture.shape, np.uint8)
    picture += noise
    return picture


def saved(picture: Any, kind: str, **options: Any) -> bytes:
    """Encode an array or Pillow image."""
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def jpeg(width: int = 400, height: int = 300, **options: Any) -> bytes:
    """Return a JPEG."""
    return saved(scene(width, height), "JPEG", **({"quality": 92} | options))


def cmyk() -> Image.Image:
    """Return the scene in four inks."""
    return Image.fromarray(scene()).convert("CMYK")


def turned_jpeg(orientation: int) -> bytes:
    """Return a JPEG stored so that EXIF's orientation makes it stand upright."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    undo: dict[int, list[Image.Transpose]] = {
        1: [],
        2: [Image.Transpose.FLIP_LEFT_RIGHT],
        3: [Image.Transpose.ROTATE_180],
    }
    undo |= {4: [Image.Transpose.FLIP_TOP_BOTTOM], 5: [Image.Transpose.TRANSPOSE], 6: [Image.Transpose.ROTATE_90]}
    undo |= {7: [Image.Transpose.TRANSVERSE], 8: [Image.Transpose.ROTATE_270]}
    image = Image.fromarray(scene())
    for step in undo[orientation]:
        image = image.transpose(step)
    return saved(image, "JPEG", quality=92, exif=exif.tobytes())


def deep_png(channels: int = 1) -> bytes:
    """Return a 16-bit PNG whose upper half is at 1/4 and lower half at 3/4 of full scale."""
    picture = np.full((300, 400, channels), 16448, np.uint16)
    picture[150:] = 49344
    if channels == 4:
        picture[..., 3] = 65535
    done, data = cv2.imencode(".png", picture)
    assert done
    return bytes(data)


def flat_png(side_px: int, height_px: int | None = None) -> bytes:
    """Return a valid one-bit PNG of any size, square unless a height is given, small on the wire."""
    rows = side_px if height_px is None else height_px

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    row = bytes(1 + (side_px + 7) // 8)
    press = zlib.compressobj(1)
    packed = b"".join(press.compress(row * 1000) for _ in range(rows // 1000)) + press.compress(row * (rows % 1000))
    header = struct.pack(">IIBBBBB", side_px, rows, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed + press.flush()) + chunk(b"IEND", b"")


def clear_png() -> bytes:
    """Return an RGBA PNG: red above, fully transparent (black underneath) below."""
    picture = np.zeros((300, 400, 4), np.uint8)
    picture[:150] = (*RED, 255)
    return saved(Image.fromarray(picture, "RGBA"), "PNG")


def animated(kind: str, frames: int = 3) -> bytes:
    """Return an animation whose first frame is the scene and whose others are green."""
    others = [Image.new("RGB", (400, 300), (0, 200 - 9 * i, 0)) for i in range(frames - 1)]
    return saved(scene(), kind, save_all=True, append_images=others, duration=50)


def scan_bomb(scans: int = 400) -> bytes:
    """Return a progressive JPEG whose last scan comes hundreds of times."""
    data = saved(scene(64, 48), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * scans + b"\xff\xd9"


SVG = b'<?xml version="1.0"?><!-- hi --><svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'
HTML = b"\n<!DOCTYPE html><html><head><title>404</title></head><body>Not found</body></html>"
