"""Turn a stranger's bytes into pixels of the wanted size, or say why not; and pixels into a stored picture."""

import importlib
import io
import re
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
import simplejpeg

from pipeline import resize, sniff
from pipeline.resize import Mode, Picture, Scratch

MAX_SIDE_PX = 65_500  # libjpeg's bound; a line of fifty million pixels is within MAX_PX, and too long for what follows
MAX_PX = 89_478_485  # Pillow's own bound: a quarter of a gibibyte at three bytes a pixel
MAX_JPEG_SCANS = 100  # each scan of a progressive JPEG costs a pass over all coefficients; real ones have about ten
_BLOCK_PX = 4_000_000
# What decoders raise on hostile bytes, and what besides Pillow's plugins let out of their parsers.
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error)
_BROKEN_PARSERS = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError)
_PLUGINS = {
    "jpeg": "JpegImagePlugin",
    "png": "PngImagePlugin",
    "gif": "GifImagePlugin",
    "webp": "WebPImagePlugin",
    "avif": "AvifImagePlugin",
    "bmp": "BmpImagePlugin",
    "tiff": "TiffImagePlugin",
}
# Harmless oddities of web JPEGs that libjpeg warns about and decodes whole.
_BENIGN = ("extraneous bytes", "Invalid SOS parameters", "Unknown Adobe color transform", "Inconsistent progression")
_CUT = ("truncated", "Truncated", "Premature end", "not enough data")
_ADDRESS = re.compile(r" <_io\.BytesIO object at 0x[0-9a-f]+>")  # differs from run to run; a detail must not

Format = Literal["jpg", "png", "webp"]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Say why a body gives no picture."""

    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Decoded:
    """Hold a picture at its stored size, and the whole of it (uncropped, unpadded) for hashing."""

    pixels: Picture  # u8[H,W,3] RGB
    view: Picture  # u8[h,w,3] RGB
    original_width_px: int  # as seen, EXIF's orientation applied
    original_height_px: int
    format: str
    frames: int


class PixelGate:
    """Bound how many pixels are being decoded at once by all threads; one picture alone always passes."""

    def __init__(self, max_px: int) -> None:
        self._max_px = max_px
        self._used_px = 0
        self._changed = threading.Condition()

    @contextmanager
    def hold(self, px: int) -> Iterator[None]:
        """Wait until `px` more pixels fit, and keep them reserved."""
        with self._changed:
            self._changed.wait_for(lambda: self._used_px == 0 or self._used_px + px <= self._max_px)
            self._used_px += px
        try:
            yield
        finally:
            with self._changed:
                self._used_px -= px
                self._changed.notify_all()


@dataclass(frozen=True, slots=True)
class Shape:
    """Say what size a stored picture has, and how large an original may be."""

    size_px: int = 256
    mode: Mode = "keep_ratio"
    upscale: bool = False
    max_px: int = MAX_PX
    view_min_px: int = 0  # shorter side that `view` keeps at least, where the original has it


_UNGATED = PixelGate(1 << 62)


def examine(data: bytes, max_px: int) -> Refusal | None:
    """Refuse, by its first bytes alone, what is no picture or claims too many pixels."""
    name = sniff.kind(data)
    if name == "svg":
        return Refusal("svg_unsupported", "an SVG drawing")
    if name == "html":
        return Refusal("html_not_image", "an HTML page")
    if name not in _PLUGINS:
        return Refusal("not_image", f"{name} is not a picture format that tamis reads")
    claimed = sniff.claimed_size(data, name)
    return _refuse_size(*claimed, max_px) if claimed else None


def decode(data: bytes, shape: Shape, gate: PixelGate = _UNGATED, scratch: Scratch | None = None) -> Decoded | Refusal:
    """Decode, orient, put on white and resize a picture; limits are checked before any pixel is decoded.

    With `scratch`, the pixels returned are good until the next call with the same one.
    """
    scratch = scratch or Scratch()
    if refusal := examine(data, shape.max_px):
        return refusal
    name = sniff.kind(data)
    try:
        if name == "jpeg":
            return _decode_jpeg(data, shape, gate, scratch)
        return _decode_pillow(data, name, shape, gate, scratch)
    except MemoryError:
        return Refusal("too_many_px", "the decoder ran out of memory")
    except (*_BROKEN, cv2.error, Warning) as error:
        return _broken(data, name, error)


def _refuse_size(width: int, height: int, max_px: int) -> Refusal | None:
    if width < 1 or height < 1:
        return Refusal("decode_failed", f"claims {width}×{height} pixels")
    if width * height > max_px:
        return Refusal("too_many_px", f"claims {width}×{height} pixels, more than {max_px}")
    if max(width, height) > MAX_SIDE_PX:
        return Refusal("too_many_px", f"claims {width}×{height} pixels, a side of more than {MAX_SIDE_PX}")
    return None


def _broken(data: bytes, name: str, error: BaseException) -> Refusal:
    """Tell a body cut short from a broken one."""
    from PIL import Image

    detail = _ADDRESS.sub("", f"{name}: {error}")[:300]
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return Refusal("too_many_px", detail)
    if any(word in str(error) for word in _CUT) or isinstance(error, EOFError) or sniff.is_cut(data, name):
        return Refusal("truncated", detail)
    return Refusal("decode_failed", detail)


def _decode_jpeg(data: bytes, shape: Shape, gate: PixelGate, scratch: Scratch) -> Decoded | Refusal:
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data, strict=False)
    except (ValueError, KeyError):  # sampling or colours that TurboJPEG has no name for; libjpeg itself may know
        return _decode_pillow(data, "jpeg", shape, gate, scratch)
    if refusal := _refuse_size(width, height, shape.max_px):
        return refusal
    if (scans := data.count(b"\xff\xda")) > MAX_JPEG_SCANS:
        return Refusal("decode_failed", f"jpeg: {scans} scans")
    if colours in ("CMYK", "YCCK"):
        return _decode_pillow(data, "jpeg", shape, gate, scratch)
    target, view_target = _targets(width, height, shape)
    largest = max(target, view_target)
    eighths = resize.jpeg_eighths(width, height, largest)
    with gate.hold(width * height * eighths * eighths // 64):
        with _parser_faults():
            pixels = _jpeg_pixels(data, width, height, eighths, scratch)
        span = (width * eighths / 8, height * eighths / 8)
        return _finish(pixels, shape, (width, height), sniff.jpeg_orientation(data), "jpeg", 1, scratch, span)


def _jpeg_pixels(data: bytes, width: int, height: int, eighths: int, scratch: Scratch) -> Picture:
    scaled_width, scaled_height = -(-width * eighths // 8), -(-height * eighths // 8)
    how: dict[str, Any] = {"colorspace": "RGB", "buffer": scratch.flat("decoded", scaled_width * scaled_height * 3)}
    if eighths < 8:
        how |= {"min_width": scaled_width, "min_height": scaled_height, "min_factor": 8 / eighths}
    try:
        return np.asarray(simplejpeg.decode_jpeg(data, **how), np.uint8)
    except ValueError as error:
        if not any(word in str(error) for word in _BENIGN):
            raise
        return np.asarray(simplejpeg.decode_jpeg(data, strict=False, **how), np.uint8)


@contextmanager
def _parser_faults() -> Iterator[None]:
    """Turn what decoders stumble over into ValueError; around them alone, so as to hide no fault of ours."""
    try:
        yield
    except _BROKEN_PARSERS as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error


def _decode_pillow(data: bytes, name: str, shape: Shape, gate: PixelGate, scratch: Scratch) -> Decoded | Refusal:
    from PIL import Image

    importlib.import_module(f"PIL.{_PLUGINS[name]}")
    frames = 1  # TIFF's pages are not counted, and GIF's not by Pillow: it walks however many a file claims
    with _parser_faults():
        image: Any = Image.open(io.BytesIO(data), formats=[name.upper()])
        if name != "tiff":
            frames = sniff.gif_frames(data) if name == "gif" else int(getattr(image, "n_frames", 1))
    if refusal := _refuse_size(image.width, image.height, shape.max_px):
        return refusal
    with gate.hold(image.width * image.height):
        with _parser_faults():
            image.load()
            orientation = image.getexif().get(0x0112, 1)
            size = image.size
            pixels = _on_white(image)
            image.close()  # its buffer is not needed beside ours
        return _finish(pixels, shape, size, orientation, name, frames, scratch)


def _on_white(image: Any) -> Picture:
    """Return u8[H,W,3] of a loaded Pillow image, transparency put on white, in blocks so that memory is needed once."""
    width, height = image.size
    if image.mode == "F":
        raise ValueError("floating-point pixels have no agreed white")
    pixels = np.empty((height, width, 3), np.uint8)
    rows = max(1, _BLOCK_PX // width)
    for top in range(0, height, rows):
        bottom = min(height, top + rows)
        block = image if rows >= height else image.crop((0, top, width, bottom))
        if image.mode.startswith("I"):  # 16 bits a sample: 65535 is white
            deep = np.asarray(block).astype(np.int64)
            pixels[top:bottom] = ((deep.clip(0, 65535) + 128) // 257).astype(np.uint8)[..., None]
        elif image.has_transparency_data:
            rgba = np.asarray(block.convert("RGBA"))
            alpha = rgba[..., 3:].astype(np.uint16)
            pixels[top:bottom] = (rgba[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255
        else:
            pixels[top:bottom] = np.asarray(block.convert("RGB"))
    return pixels


def _targets(width: int, height: int, shape: Shape) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the sizes of the stored picture (before cropping) and of the view for hashing."""
    target = resize.target_size(width, height, size_px=shape.size_px, mode=shape.mode, upscale=shape.upscale)
    if min(target) >= min(shape.view_min_px, width, height):
        return target, target
    return target, resize.target_size(width, height, size_px=shape.view_min_px, mode="keep_ratio", upscale=False)


def _finish(
    pixels: Picture,
    shape: Shape,
    size: tuple[int, int],
    orientation: int,
    name: str,
    frames: int,
    scratch: Scratch,
    span: tuple[float, float] | None = None,
) -> Decoded:
    target, view_target = _targets(*size, shape)
    resized = resize.orient(resize.resample(pixels, target, span=span, scratch=scratch), orientation)
    view = resized
    if view_target != target:
        view = resize.orient(resize.resample(pixels, view_target, span=span, scratch=scratch), orientation)
    width, height = size[::-1] if orientation in (5, 6, 7, 8) else size
    framed = resize.frame(resized, size_px=shape.size_px, mode=shape.mode)
    return Decoded(framed, view, width, height, name, frames)


def encode(pixels: Picture, extension: Format = "jpg", *, quality: int = 95) -> bytes:
    """Encode u8[H,W,3] RGB; quality is JPEG's and WebP's (1 to 100), PNG is lossless at zlib level 6."""
    if extension == "jpg":
        return bytes(simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), quality=quality, colorsubsampling="420"))
    parameters = {"png": [cv2.IMWRITE_PNG_COMPRESSION, 6], "webp": [cv2.IMWRITE_WEBP_QUALITY, quality]}[extension]
    done, data = cv2.imencode(f".{extension}", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), parameters)
    if not done:
        raise ValueError(f"OpenCV could not encode {pixels.shape} as {extension}")
    return bytes(data)


# What Pillow finds odd about a stranger's file is no concern of whoever watches stderr; the pixel limit is ours.
warnings.filterwarnings("ignore", module=r"PIL\.")
