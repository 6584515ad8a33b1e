"""Read the few old metadata fields that speak of rights: EXIF's Artist and Copyright, and IPTC's IIM records."""

import re
import struct
from collections.abc import Collection
from typing import Final

ARTIST: Final = 0x013B
COPYRIGHT: Final = 0x8298
BYLINE, CREDIT, NOTICE = (2, 80), (2, 110), (2, 116)  # IIM's record and data set numbers
_SIZES: Final = {1: 1, 2: 1, 3: 2, 4: 4, 6: 1, 7: 1, 9: 4}
_MAX_ENTRIES: Final = 512
_RESOURCE: Final = struct.Struct(">4sH")
_CHARSET: Final = (1, 90)
_UTF8: Final = b"\x1b%G"


def first_directory(data: bytes, wanted: Collection[int], *, longest: int = 1 << 16) -> dict[int, bytes]:
    """Return the raw values of tags in a TIFF structure's first directory (TIFF 6.0 §2); {} for what is none."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(data[:4])
    if order is None:
        return {}
    found: dict[int, bytes] = {}
    try:
        (at,) = struct.unpack_from(order + "I", data, 4)
        (entries,) = struct.unpack_from(order + "H", data, at)
        for entry in range(min(entries, _MAX_ENTRIES)):
            place = at + 2 + 12 * entry
            tag, kind, count = struct.unpack_from(order + "HHI", data, place)
            if tag not in wanted or kind not in _SIZES:
                continue
            size = count * _SIZES[kind]
            begin = place + 8 if size <= 4 else struct.unpack_from(order + "I", data, place + 8)[0]
            found[tag] = data[begin : begin + min(size, longest)]
    except struct.error:
        pass  # cut short: what was found counts
    return found


def texts(data: bytes) -> dict[int, str]:
    """Return Artist and Copyright of a TIFF structure; an editor's copyright stands behind the photographer's."""
    found = first_directory(data, (ARTIST, COPYRIGHT))
    return {
        tag: text
        for tag, raw in found.items()
        if (text := "; ".join(filter(None, (_decoded(part).strip() for part in raw.split(b"\0")))))
    }


def photoshop_iim(resources: bytes) -> bytes:
    """Return the IIM records among Photoshop's image resources (number 0x0404)."""
    at = 0
    while at + 12 <= len(resources):
        signature, number = _RESOURCE.unpack_from(resources, at)
        if signature not in (b"8BIM", b"MeSa", b"PHUT", b"AgHg", b"DCSR"):
            break
        name = 1 + resources[at + 6]
        at += 6 + name + (name & 1)
        size = int.from_bytes(resources[at : at + 4], "big")
        if number == 0x0404:
            return resources[at + 4 : at + 4 + size]
        at += 4 + size + (size & 1)
    return b""


def iim(records: bytes) -> dict[tuple[int, int], list[str]]:
    """Return the texts of IIM data sets (IPTC-NAA IIM 4.2 §1.6) by record and number, in their order."""
    raw: dict[tuple[int, int], list[bytes]] = {}
    at = 0
    while at + 5 <= len(records) and records[at] == 0x1C:
        size = int.from_bytes(records[at + 3 : at + 5], "big")
        if size & 0x8000:  # an extended data set: no text is longer than 32,767 bytes
            break
        raw.setdefault((records[at + 1], records[at + 2]), []).append(records[at + 5 : at + 5 + size])
        at += 5 + size
    utf8 = _UTF8 in b"".join(raw.get(_CHARSET, ()))
    return {
        key: [text for value in values if (text := _decoded(value, utf8).strip("\0 \r\n\t"))]
        for key, values in raw.items()
        if key in (BYLINE, CREDIT, NOTICE)
    }


def _decoded(raw: bytes, utf8: bool = False) -> str:
    """Decode text of an undeclared charset: UTF-8 where it is that, else Windows' Latin."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        text = raw.decode("utf-8" if utf8 else "cp1252", "replace")
    return re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f]", "", text)
