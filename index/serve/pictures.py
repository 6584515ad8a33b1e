"""A client's picture, by value or by address: decoded by the pipeline's guarded decoder before any model sees it."""

import asyncio
import base64
import binascii
from typing import Final

from filters.signal import Signal
from filters.urls import canonical_url
from index.serve.settings import Settings
from pipeline import image
from pipeline.client import Client, Download, Headers, inflate
from pipeline.errors import InputError
from pipeline.fetch_options import FetchOptions
from pipeline.image import PixelGate, Shape
from pipeline.trouble import Trouble

_SHAPE_PX: Final = 512
"""Shorter side that a picture is brought down to: more than CLIP models look at."""
_GATE: Final = PixelGate(60_000_000)


def decoded(base64_text: str, settings: Settings) -> bytes:
    """Return the bytes of a base64 picture (a data: URL's head is fine); InputError when it is none or too large."""
    text = base64_text.partition(",")[2] if base64_text.startswith("data:") else base64_text
    if len(text) > settings.max_picture_bytes * 4 // 3 + 4:
        raise InputError(f"the picture has more than {settings.max_picture_bytes:,} bytes")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise InputError("the picture is not base64") from None


def safe(data: bytes, settings: Settings) -> bytes:
    """Return a stranger's picture upright, on white and no larger than needed, as PNG; InputError says why it cannot be read.

    Size is checked before pixels are decoded, only the pipeline's formats are, and few pixels at once.
    """
    found = image.decode(data, Shape(_SHAPE_PX, "keep_ratio", False, settings.max_picture_px, 0), _GATE)
    if isinstance(found, image.Refusal):
        raise InputError(f"the picture cannot be used: {found.detail or found.reason}")
    return image.encode(found.pixels, "png")


class _Anybody:
    """Asks nobody's leave: a person names one picture, and nothing of it is kept."""

    async def may_ask(self, url: str, signals: list[Signal]) -> None:
        """Let it be asked."""

    def may_use(self, url: str, headers: Headers, signals: list[Signal]) -> None:
        """Let it be used."""


async def fetched(url: str, settings: Settings) -> bytes:
    """Return the body of a picture's address, through the pipeline's client: no private address, bounded bytes and time."""
    canonical = canonical_url(url)
    if canonical is None:
        raise InputError("image_url is no http(s) address")
    options = FetchOptions(
        allow_hosts=settings.allow_hosts, contact=settings.contact, timeout_s=settings.fetch_s, connect_s=settings.fetch_s / 2,
        max_bytes=settings.max_picture_bytes, retries=0, max_redirects=5, concurrency=1, budget_bytes=settings.max_picture_bytes,
    )  # fmt: skip
    async with Client(options) as client:
        found = await client.download(canonical, _Anybody())
    try:
        return _body(found, settings.max_picture_bytes)
    except Trouble as trouble:
        raise InputError(f"the picture at image_url cannot be had: {trouble.reason}") from None


def _body(found: Download, max_bytes: int) -> bytes:
    if found.trouble is not None:
        raise found.trouble
    assert found.reply is not None
    return inflate(found.reply.body, found.reply.encoding, max_bytes)


class Fetches:
    """Few addresses are fetched at once: the server is no means to flood a third party."""

    def __init__(self, settings: Settings, at_once: int = 8) -> None:
        self._settings, self._turns = settings, asyncio.Semaphore(at_once)

    async def get(self, url: str) -> bytes:
        """Return a picture's bytes, as `fetched`."""
        async with self._turns:
            return await fetched(url, self._settings)
