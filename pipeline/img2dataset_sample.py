"""One of img2dataset's samples as it is written down: its error becomes a reason, its picture a stored one."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from filters import perceptual
from pipeline import image
from pipeline.fetch_options import FetchOptions
from pipeline.permission import Clock
from pipeline.picture import Fate, hear
from pipeline.refusals import LISTED, PictureGuard
from pipeline.spool import Spool
from pipeline.trouble import REASONS, Trouble

if TYPE_CHECKING:
    from pipeline.fetch import Job

MARK: Final = "tamis-"
"""Begins the error messages that are ours, since img2dataset keeps only an error's text."""

# Texts of urllib, ssl and img2dataset 1.47; the first that is found in a message names the reason.
_MESSAGES = (
    ("disallowed by X-Robots-Tag", "noai_header"),
    ("HTTP Error 429", "http_429"),
    ("HTTP Error 5", "http_5xx"),
    ("infinite loop", "redirect_loop"),
    ("is not allowed", "redirect_scheme"),
    ("HTTP Error", "http_4xx"),
    ("SSL", "tls"),
    ("CERTIFICATE", "tls"),
    ("timed out", "timeout"),
    ("[Errno -2]", "dns"),
    ("[Errno -3]", "dns"),
    ("[Errno -5]", "dns"),
    ("reset", "connection_reset"),
    ("Remote end closed", "connection_reset"),
    ("IncompleteRead", "incomplete_body"),
    ("got more than", "header_too_large"),
    ("unknown url type", "redirect_scheme"),
    ("Image decoding error", "decode_failed"),
    ("urlopen error", "connect"),
)


class Ear:
    """Hears what a picture's own file says; img2dataset resizes one picture and writes it down before the next."""

    def __init__(self, options: FetchOptions, clock: Clock) -> None:
        self.options, self.clock = options, clock
        self._last: Fate | None = None

    def hear(self, data: bytes) -> Trouble | None:
        """Read the original bytes; return why they may not be used, or None."""
        self._last = Fate(sha256=hashlib.sha256(data).digest())
        try:
            hear(data, self._last, self.options, self.clock)
        except Trouble as trouble:
            return trouble
        return None

    def fate(self, url: str) -> Fate:
        """Return the record of the picture that is being written down, with what was heard of it."""
        fate, self._last = self._last or Fate(), None
        fate.final_url = url
        fate.signals = [replace(signal, subject_url=url) for signal in fate.signals]
        return fate


def writer(jobs: Sequence["Job"], options: FetchOptions, spool: Spool, guard: PictureGuard | None, ear: Ear) -> type:
    """Return a sample writer as img2dataset wants one, that turns each sample into its job's fate."""

    class Writer:
        def __init__(self, *_: Any) -> None:
            pass

        def write(self, picture: bytes | None, _key: str, _caption: str | None, meta: Mapping[str, Any]) -> None:
            job = jobs[meta["job"]]
            fate = job.fate = ear.fate(job.url)
            if picture is None:
                fate.refuse(trouble_of(str(meta["error_message"])))
                return
            fate.sha256 = bytes.fromhex(meta["sha256"])
            fate.width_px, fate.height_px = meta["width"], meta["height"]
            fate.original_width_px, fate.original_height_px = meta["original_width"], meta["original_height"]
            if options.hashes or (guard is not None and guard.looks):
                whole = options.resize_mode not in ("center_crop", "border")
                _hash(picture, fate, (meta["original_width"], meta["original_height"]) if whole else None)
            if guard is not None and guard.looks_listed(fate.pdq256, fate.pdq_quality, fate.phash64):
                fate.forget()
                fate.refuse(Trouble(LISTED, ""))
                return
            if not options.hashes:
                fate.phash64 = fate.pdq256 = fate.pdq_quality = None
            fate.slot = spool.add(picture)

        def close(self) -> None:
            pass

    return Writer


def _hash(picture: bytes, fate: Fate, original: tuple[int, int] | None) -> None:
    decoded = image.decode(picture, image.Shape(mode="no"))
    if isinstance(decoded, image.Decoded):
        fate.phash64 = perceptual.phash64(perceptual.gray(decoded.view))
        fate.pdq256, fate.pdq_quality = perceptual.pdq256(decoded.view, original)


def trouble_of(message: str) -> Trouble:
    """Name the reason behind one of img2dataset's error messages."""
    if ours := re.search(rf"{MARK}(\w+): (.*)", message):
        return Trouble(ours[1] if ours[1] in REASONS else "decode_failed", ours[2])
    reason = next((reason for text, reason in _MESSAGES if text in message), "decode_failed")
    status = re.search(r"HTTP Error (\d{3})", message)
    return Trouble(reason, message, status=int(status[1]) if status else None)
