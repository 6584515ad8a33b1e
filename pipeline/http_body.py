"""Undo what HTTP did to a body: chunks (RFC 9112 §7.1) and content codings, leniently and never past a limit.

Crawls store bodies as they came, or decoded under headers that still say otherwise; so what does not look coded is
taken as it is, and of a broken body the part before the break is kept.
"""

import io
import re
import zlib

from fastwarc.stream_io import BrotliReader, ZstdReader

_CHUNK = re.compile(rb"[ \t]*([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\r\n]{0,4096})?\r?\n")


def decode_body(raw: bytes, transfer: str | None, content: str | None, limit_bytes: int) -> bytes:
    """Return at most `limit_bytes` of the body behind Transfer-Encoding and Content-Encoding."""
    body = raw
    if transfer and "chunked" in transfer.lower():
        body = _dechunk(body)
    for coding in reversed((content or "").lower().split(",")):
        body = _uncode(body, coding.strip(), limit_bytes)
    return body[:limit_bytes]


def _dechunk(raw: bytes) -> bytes:
    pieces: list[bytes] = []
    at = 0
    while (head := _CHUNK.match(raw, at)) is not None:
        size = int(head[1], 16)
        if not size:
            break
        pieces.append(raw[head.end() : head.end() + size])
        at = head.end() + size
        at += 2 if raw[at : at + 2] == b"\r\n" else 1 if raw[at : at + 1] == b"\n" else 0
    else:
        if not pieces:
            return raw
    return b"".join(pieces)


def _uncode(body: bytes, coding: str, limit_bytes: int) -> bytes:
    if coding in ("gzip", "x-gzip") and body[:2] == b"\x1f\x8b":
        return _inflate(body, 31, limit_bytes)
    if coding == "deflate":
        zlib_wrapped = len(body) > 1 and body[0] & 15 == 8 and int.from_bytes(body[:2], "big") % 31 == 0
        return _inflate(body, 15 if zlib_wrapped else -15, limit_bytes) or body
    if coding == "zstd" and body[:4] == b"\x28\xb5\x2f\xfd":
        return _read(ZstdReader(io.BytesIO(body)), limit_bytes)
    if coding == "br":
        return _read(BrotliReader(io.BytesIO(body)), limit_bytes) or body
    return body


def _inflate(body: bytes, window_bits: int, limit_bytes: int) -> bytes:
    """Decompress all members up to the first fault."""
    pieces: list[bytes] = []
    size = at = 0
    while at < len(body) and size < limit_bytes:
        member = zlib.decompressobj(window_bits)
        try:
            while at < len(body) and not member.eof and size < limit_bytes:
                pieces.append(member.decompress(body[at : at + 65536], limit_bytes - size))
                size += len(pieces[-1])
                at += 65536
        except zlib.error:
            break
        at = min(at, len(body)) - len(member.unused_data)
        if window_bits != 31 or body[at : at + 2] != b"\x1f\x8b":
            break
    return b"".join(pieces)


def _read(reader: BrotliReader | ZstdReader, limit_bytes: int) -> bytes:
    pieces: list[bytes] = []
    size = 0
    try:
        while size < limit_bytes and (piece := reader.read(min(65536, limit_bytes - size))):
            pieces.append(piece)
            size += len(piece)
    except (OSError, EOFError, ValueError):
        pass  # the part before the break is what there is
    return b"".join(pieces)
