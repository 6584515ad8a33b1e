"""From the bytes of one response to a stored picture and the facts about it; runs in a decoding thread."""

import hashlib
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from datetime import datetime

from filters import perceptual, rights
from filters.signal import Signal
from pipeline import image, sniff
from pipeline.client import inflate
from pipeline.fetch_options import FetchOptions
from pipeline.origin_policy import utc_now
from pipeline.refusals import LISTED, PictureGuard
from pipeline.resize import Scratch
from pipeline.spool import Slot, Spool
from pipeline.trouble import Trouble


@dataclass(slots=True)
class Fate:
    """How one URL ended: the columns of FETCH that do not depend on the row, and where the picture was spooled."""

    reason: str | None = None
    transient: bool = False
    detail: str | None = None
    via: str = "web"
    final_url: str | None = None
    http_status: int | None = None
    content_type: str | None = None
    original_bytes: int | None = None
    sha256: bytes | None = None
    md5: bytes | None = None
    phash64: bytes | None = None
    pdq256: bytes | None = None
    pdq_quality: int | None = None
    original_width_px: int | None = None
    original_height_px: int | None = None
    width_px: int | None = None
    height_px: int | None = None
    format: str | None = None
    frames: int | None = None
    creator: str | None = None
    copyright: str | None = None
    credit: str | None = None
    usage_terms: str | None = None
    web_statement: str | None = None
    licensor: str | None = None
    digital_source_type: str | None = None
    copyright_owner: str | None = None
    other_constraints: str | None = None
    rights_marked: str | None = None
    signals: list[Signal] = field(default_factory=list)  # what the picture's own file says of its use
    slot: Slot | None = None

    def refuse(self, trouble: Trouble) -> None:
        """Note why there is no picture."""
        self.reason, self.transient, self.detail = trouble.reason, trouble.transient, trouble.detail

    def forget(self) -> None:
        """Drop what would tell a listed picture again: nothing of it is kept but that it was refused."""
        for one in fields(self):
            if one.name not in _OF_THE_RESPONSE:
                setattr(self, one.name, one.default)
        self.signals.clear()


_OF_THE_RESPONSE = frozenset({"via", "final_url", "http_status", "content_type", "signals"})
_OWN = threading.local()


def _scratch() -> Scratch:
    """Return this thread's memory for pixels."""
    if not hasattr(_OWN, "scratch"):
        _OWN.scratch = Scratch()
    return _OWN.scratch  # type: ignore[no-any-return]


def keep(
    body: bytes,
    encoding: str,
    fate: Fate,
    options: FetchOptions,
    gate: image.PixelGate,
    spool: Spool,
    guard: PictureGuard | None = None,
    clock: Callable[[], datetime] = utc_now,
) -> None:
    """Hash, hear, decode, resize, encode and spool one picture, and write into `fate` what became of it."""
    try:
        data = inflate(body, encoding, options.max_bytes)
        _name(data, fate, options, guard)
        hear(data, fate, options, clock)
        _keep(data, fate, options, gate, spool, guard)
    except Trouble as trouble:
        if trouble.reason == LISTED:
            fate.forget()
        fate.refuse(trouble)


def _name(data: bytes, fate: Fate, options: FetchOptions, guard: PictureGuard | None) -> None:
    """Hash the original bytes, and refuse what is listed or too small to be a picture."""
    fate.original_bytes = len(data)
    fate.sha256 = hashlib.sha256(data).digest()
    md5 = hashlib.md5(data, usedforsecurity=False).digest()
    fate.md5 = md5 if options.md5 else None
    if guard is not None and guard.bytes_listed(fate.sha256, md5):
        raise Trouble(LISTED, "")
    if not data:
        raise Trouble("empty_body", "nothing after unpacking")
    if len(data) < options.min_original_bytes:
        raise Trouble("image_small_bytes", f"{len(data)} bytes, fewer than {options.min_original_bytes}")


def hear(data: bytes, fate: Fate, options: FetchOptions, clock: Callable[[], datetime]) -> None:
    """Read what a picture's original bytes say of its makers and its use; Trouble when that denies it.

    Before anything is decoded, since re-encoding loses all of it, and what is denied needs no pixels.
    """
    name = sniff.kind(data)
    found = rights.read(data, name)
    if found.rights is not rights.NOTHING:
        for column, value in zip(rights.Rights._fields, found.rights, strict=True):
            setattr(fate, column, value)
    if not found.said and not found.c2pa:
        return
    said = found.said
    if found.c2pa:
        from filters import c2pa  # loads a native library: for the few pictures that carry a manifest

        said = [*said, *c2pa.statements(data, name)]
    now, url = clock(), fate.final_url or ""
    for mechanism, statement, evidence in said:
        category, value, raw, flag = statement
        fate.signals.append(
            Signal(url, "asset", mechanism, category, value, "*", raw, now, flag, evidence or fate.sha256)
        )
    if (denial := options.policy.denial(fate.signals)) is not None:
        raise Trouble(denial.reason, denial.signal.raw if denial.signal else "")


def _keep(
    data: bytes,
    fate: Fate,
    options: FetchOptions,
    gate: image.PixelGate,
    spool: Spool,
    guard: PictureGuard | None,
) -> None:
    decoded = image.decode(data, options.shape, gate, _scratch())
    if isinstance(decoded, image.Refusal):
        raise Trouble(decoded.reason, decoded.detail)
    fate.format, fate.frames = decoded.format, decoded.frames
    fate.original_width_px, fate.original_height_px = decoded.original_width_px, decoded.original_height_px
    fate.height_px, fate.width_px = decoded.pixels.shape[:2]
    if options.hashes or (guard is not None and guard.looks):
        phash = perceptual.phash64(perceptual.gray(decoded.view))
        pdq, quality = perceptual.pdq256(decoded.view, (decoded.original_width_px, decoded.original_height_px))
        if guard is not None and guard.looks_listed(pdq, quality, phash):
            raise Trouble(LISTED, "")
        if options.hashes:
            fate.phash64, fate.pdq256, fate.pdq_quality = phash, pdq, quality
    stored = image.encode(decoded.pixels, options.encode_format, quality=options.encode_quality)
    fate.slot = spool.add(stored)
