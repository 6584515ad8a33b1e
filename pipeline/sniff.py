"""Tell what a byte string is, and how large a picture it claims, from its first bytes alone."""

import re
import struct

_MARKUP = re.compile(rb"<(svg|html|head|body|script|title|meta|!doctype\s+(?:html|svg))\b", re.IGNORECASE)
_SKIPPED = re.compile(rb"\s+|<\?[^>]{0,500}\?>|<!--.{0,2000}?-->", re.DOTALL)
_ISO_BRANDS = {b"avif": "avif", b"avis": "avif", b"heic": "heif", b"heix": "heif", b"mif1": "heif", b"msf1": "heif"}
_MAGIC = (
    (b"\xff\xd8\xff", "jpeg"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"BM", "bmp"),
    (b"II*\0", "tiff"),
    (b"MM\0*", "tiff"),
    (b"\0\0\1\0", "ico"),
    (b"\xff\x0a", "jxl"),
    (b"\0\0\0\x0cJXL ", "jxl"),
    (b"\0\0\0\x0cjP  ", "jp2"),
    (b"%PDF", "pdf"),
)


def kind(data: bytes) -> str:
    """Name the format (jpeg, png, gif, webp, avif, …, svg, html), or "unknown"."""
    for magic, name in _MAGIC:
        if data.startswith(magic):
            return name
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    if data[4:8] == b"ftyp":
        return _iso_brand(data)
    return _markup(data[:4096])


def _iso_brand(data: bytes) -> str:
    end = min(int.from_bytes(data[:4], "big"), 256)
    brands = [data[8:12], *(data[at : at + 4] for at in range(16, end, 4))]
    named = [_ISO_BRANDS[brand] for brand in brands if brand in _ISO_BRANDS]
    return "avif" if "avif" in named else "heif" if named else "unknown"


def _markup(head: bytes) -> str:
    head = head.removeprefix(b"\xef\xbb\xbf")
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        head = head.decode("utf-16", "replace").encode()
    while skipped := _SKIPPED.match(head):
        head = head[skipped.end() :]
    found = _MARKUP.match(head)
    if not found:
        return "unknown"
    return "svg" if found[1].lower().endswith(b"svg") else "html"


def claimed_size(data: bytes, name: str) -> tuple[int, int] | None:
    """Return (width, height) that the header of a PNG, GIF, BMP or WebP states, without any decoder's help."""
    try:
        if name == "png" and data[12:16] == b"IHDR":
            return struct.unpack_from(">II", data, 16)
        if name == "gif":
            return struct.unpack_from("<HH", data, 6)
        if name == "bmp" and struct.unpack_from("<I", data, 14)[0] >= 40:
            width, height = struct.unpack_from("<ii", data, 18)
            return abs(width), abs(height)
        if name == "webp" and data[12:16] == b"VP8X":
            return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    except struct.error:
        return None
    return None


def is_cut(data: bytes, name: str) -> bool:
    """Tell from the container alone whether the end of a file is missing."""
    ends = {"jpeg": b"\xff\xd9", "png": b"IEND", "gif": b";"}
    if name in ends:
        return ends[name] not in data[-1024:]
    if name == "webp":
        return 8 + int.from_bytes(data[4:8], "little") > len(data)
    at = 0
    while name == "avif" and at + 8 <= len(data):  # top-level boxes (ISO/IEC 14496-12 §4.2); size 0 runs to the end
        size = int.from_bytes(data[at : at + 4], "big")
        if size == 1:
            size = int.from_bytes(data[at + 8 : at + 16], "big")
        if size < 8:
            return False
        at += size
    return at > len(data)


def gif_frames(data: bytes, *, max_blocks: int = 200_000) -> int:
    """Count the pictures in a GIF by walking its blocks (GIF89a §15 on); at least 1, and bounded work."""
    at = 13 + _table_bytes(data, 10)
    frames = 0
    for _ in range(max_blocks):
        marker = data[at : at + 1]
        if marker == b"!":
            at += 2
        elif marker == b",":
            frames += 1
            at += 11 + _table_bytes(data, at + 9)  # descriptor, local colours, LZW code size
        else:
            break
        while at < len(data) and data[at]:  # sub-blocks up to an empty one
            at += 1 + data[at]
            max_blocks -= 1
            if max_blocks < 0:
                return max(1, frames)
        at += 1
    return max(1, frames)


def _table_bytes(data: bytes, at: int) -> int:
    flags = data[at] if at < len(data) else 0
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def exif_orientation(exif: bytes) -> int:
    """Return Orientation (1 to 8) of an EXIF block that starts with its TIFF header; 1 when there is none."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None:
        return 1
    try:
        (at,) = struct.unpack_from(order + "I", exif, 4)
        (entries,) = struct.unpack_from(order + "H", exif, at)
        for entry in range(min(entries, 512)):
            tag, kind_, count, value = struct.unpack_from(order + "HHIH", exif, at + 2 + 12 * entry)
            if tag == 0x0112 and kind_ == 3 and count == 1:
                return value if 1 <= value <= 8 else 1
    except struct.error:
        return 1
    return 1


def jpeg_orientation(data: bytes) -> int:
    """Return EXIF's Orientation of a JPEG; only the first 64 KiB are looked at."""
    at = data.find(b"Exif\0\0", 0, 1 << 16)
    return 1 if at < 0 else exif_orientation(data[at + 6 : at + 6 + (1 << 16)])
