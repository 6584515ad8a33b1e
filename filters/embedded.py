"""Find, in a picture's own bytes, what it carries besides pixels: XMP packets, EXIF, IPTC's IIM, and whether there is C2PA.

Containers are walked, nothing is decoded: a few microseconds for a picture that carries nothing.
"""

import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from filters import exif

MAX_PACKET_BYTES: Final = 1 << 20
_XMP: Final = b"http://ns.adobe.com/xap/1.0/\0"
_XMP_MORE: Final = b"http://ns.adobe.com/xmp/extension/\0"
_EXIF: Final = b"Exif\0\0"
_PHOTOSHOP: Final = b"Photoshop 3.0\0"
_PNG_XMP: Final = b"XML:com.adobe.xmp\0"
_GIF_XMP: Final = b"\x21\xff\x0bXMP DataXMP"
_GIF_XMP_END: Final = b"\x01\xff\xfe\xfd"  # 258 bytes that lead a reader of sub-blocks out of the packet
_AVIF_XMP: Final = b"application/rdf+xml"
_C2PA_UUID: Final = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")  # of the box in ISO media files
_BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    struct.error,
    ArithmeticError,
    LookupError,
    RuntimeError,
    TypeError,
)


@dataclass(slots=True)
class Embedded:
    """What a file carries; nothing in here has been read yet."""

    xmp: list[bytes] = field(default_factory=list)
    exif: bytes | None = None  # from its TIFF header on
    iim: bytes = b""  # IPTC-NAA records
    c2pa: bool = False
    too_large: list[bytes] = field(default_factory=list)  # packets beyond the limit


def find(data: bytes, name: str) -> Embedded:
    """Return what a file of this format (jpeg, png, webp, tiff, gif, avif) carries."""
    found = Embedded()
    walk = _WALKS.get(name)
    if walk is not None:
        walk(data, found)
        if any(len(packet) > MAX_PACKET_BYTES for packet in found.xmp):
            found.too_large = [packet for packet in found.xmp if len(packet) > MAX_PACKET_BYTES]
            found.xmp = [packet for packet in found.xmp if len(packet) <= MAX_PACKET_BYTES]
    return found


def _jpeg(data: bytes, found: Embedded) -> None:
    """Walk the segments before the first scan (ITU-T T.81 §B.1)."""
    at, end = 2, len(data)
    more: dict[bytes, list[tuple[int, bytes]]] = {}
    photoshop = []
    while at + 4 <= end and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xDA or marker == 0xD9:
            break
        if marker == 0xFF:  # filling
            at += 1
            continue
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:
            at += 2
            continue
        size = data[at + 2] << 8 | data[at + 3]
        if marker == 0xE1:
            if data.startswith(_XMP, at + 4):
                found.xmp.append(data[at + 4 + len(_XMP) : at + 2 + size])
            elif data.startswith(_XMP_MORE, at + 4):
                piece = data[at + 4 + len(_XMP_MORE) : at + 2 + size]
                more.setdefault(piece[:32], []).append((int.from_bytes(piece[36:40], "big"), piece[40:]))
            elif data.startswith(_EXIF, at + 4) and found.exif is None:
                found.exif = data[at + 10 : at + 2 + size]
        elif marker == 0xED and data.startswith(_PHOTOSHOP, at + 4):
            photoshop.append(data[at + 4 + len(_PHOTOSHOP) : at + 2 + size])
        elif marker == 0xEB and data.startswith(b"JP", at + 4) and data.find(b"c2pa", at + 4, at + 2 + size) > 0:
            found.c2pa = True
        at += 2 + size
    # Extended XMP (XMP specification part 3, §1.1.3.1): pieces with their offsets, one packet a GUID.
    found.xmp += [b"".join(piece for _, piece in sorted(pieces)) for pieces in more.values()]
    found.iim = exif.photoshop_iim(b"".join(photoshop)) if photoshop else b""


def _png(data: bytes, found: Embedded) -> None:
    """Walk all chunks: text may stand behind the pixels (PNG specification §5.6)."""
    at, end = 8, len(data)
    while at + 8 <= end:
        size = int.from_bytes(data[at : at + 4], "big")
        kind = data[at + 4 : at + 8]
        if kind != b"IDAT":
            body = at + 8
            if kind == b"iTXt" and data.startswith(_PNG_XMP, body):
                _png_text(data[body + len(_PNG_XMP) : body + size], found)
            elif kind == b"eXIf":
                found.exif = data[body : body + size].removeprefix(_EXIF)
            elif kind == b"caBX":
                found.c2pa = True
        at += 12 + size


def _png_text(body: bytes, found: Embedded) -> None:
    """Read an iTXt behind its keyword: compression flag and method, language, translated keyword, text."""
    text = body[2:].split(b"\0", 2)[-1]
    if body[:1] == b"\1":
        try:
            text = zlib.decompressobj().decompress(text, MAX_PACKET_BYTES + 1)
        except zlib.error:
            text = b"<"  # a packet that cannot be read is one all the same
    found.xmp.append(text)


def _webp(data: bytes, found: Embedded) -> None:
    at, end = 12, len(data)
    while at + 8 <= end:
        kind, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        if kind == b"XMP ":
            found.xmp.append(data[at + 8 : at + 8 + size])
        elif kind == b"EXIF":
            found.exif = data[at + 8 : at + 8 + size].removeprefix(_EXIF)
        elif kind == b"C2PA":
            found.c2pa = True
        at += 8 + size + (size & 1)


def _tiff(data: bytes, found: Embedded) -> None:
    found.exif = data
    tags = exif.first_directory(data, (0x02BC, 0x83BB, 0xCD41), longest=MAX_PACKET_BYTES + 1)
    if packet := tags.get(0x02BC):
        found.xmp.append(packet)
    found.iim, found.c2pa = tags.get(0x83BB, b""), 0xCD41 in tags


def _gif(data: bytes, found: Embedded) -> None:
    at = data.find(_GIF_XMP)
    if at >= 0:
        begin = at + len(_GIF_XMP)
        stop = data.find(_GIF_XMP_END, begin)
        found.xmp.append(data[begin : stop if stop >= 0 else begin + MAX_PACKET_BYTES])
    found.c2pa = b"\x0bC2PA_GIF" in data


def _avif(data: bytes, found: Embedded) -> None:
    """Ask Pillow where ISO media boxes say that something is there; their items may be anywhere in the file."""
    found.c2pa = _C2PA_UUID in data
    if _AVIF_XMP not in data and b"Exif" not in data:
        return
    from PIL import AvifImagePlugin

    try:
        info = AvifImagePlugin.AvifImageFile(io.BytesIO(data)).info
    except _BROKEN:
        if _AVIF_XMP in data:
            found.xmp.append(b"<")
        return
    if packet := info.get("xmp"):
        found.xmp.append(packet)
    if block := info.get("exif"):
        found.exif = block.removeprefix(_EXIF)


_WALKS: Final[dict[str, Callable[[bytes, Embedded], None]]] = {
    "jpeg": _jpeg,
    "png": _png,
    "webp": _webp,
    "tiff": _tiff,
    "gif": _gif,
    "avif": _avif,
}
