"""Why one URL gave no picture: the closed vocabulary, what of it may pass, and how exceptions map onto it."""

import ssl
from typing import Final

import aiohttp

from filters import policy
from pipeline.net import AddressRefused

TRANSIENT: Final = frozenset(
    {"dns", "connect", "timeout", "connection_reset", "http_429", "http_5xx", "robots_unreachable", "incomplete_body"}
    | {"circuit_open"}
)
PERMANENT: Final = frozenset(
    {*policy.REASONS}
    | {"tls", "too_large", "header_too_large", "http_4xx", "redirect_loop", "redirect_scheme", "too_many_redirects"}
    | {"private_address", "url_invalid", "empty_body", "bad_encoding"}
    | {
        "not_image",
        "html_not_image",
        "svg_unsupported",
        "truncated",
        "too_many_px",
        "decode_failed",
        "image_small_bytes",
        "capture_broken",
        "hash_listed",
        "opted_out_request",
    }
)
REASONS: Final = TRANSIENT | PERMANENT


class Trouble(Exception):
    """Carry a reason up to where it becomes a row."""

    def __init__(self, reason: str, detail: str, *, status: int | None = None, pause_s: float | None = None) -> None:
        assert reason in REASONS, reason
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = " ".join(detail.split())[:200]
        self.status = status
        self.pause_s = pause_s

    @property
    def transient(self) -> bool:
        """Tell whether another try may end otherwise."""
        return self.reason in TRANSIENT


def of_exception(error: BaseException) -> Trouble:
    """Name what aiohttp, asyncio or the operating system raised while one response was got."""
    if isinstance(error, Trouble):
        return error
    if isinstance(error, TimeoutError):
        return Trouble("timeout", str(error) or "no answer in time")
    if isinstance(error, aiohttp.ClientConnectorError):
        return _of_connecting(error)
    if isinstance(error, aiohttp.ClientSSLError | ssl.SSLError | ssl.CertificateError):
        return Trouble("tls", str(error))
    if isinstance(error, aiohttp.ClientPayloadError):
        return _of_payload(error)
    if isinstance(error, aiohttp.ClientResponseError):
        return _of_parsing(error)
    if isinstance(error, aiohttp.ServerDisconnectedError | aiohttp.ClientOSError | OSError):
        return Trouble("connection_reset", f"{type(error).__name__}: {error}")
    if isinstance(error, aiohttp.InvalidURL | ValueError):
        return Trouble("url_invalid", str(error))
    return Trouble("bad_encoding", f"{type(error).__name__}: {error}")


def _of_connecting(error: aiohttp.ClientConnectorError) -> Trouble:
    cause = error.os_error
    if isinstance(cause, AddressRefused):
        return Trouble("private_address", str(cause))
    if isinstance(cause, TimeoutError):
        return Trouble("timeout", f"no connection: {cause}")
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return Trouble("dns", str(cause))
    if isinstance(error, aiohttp.ClientConnectorSSLError | aiohttp.ClientSSLError):
        return Trouble("tls", str(cause))
    return Trouble("connect", str(cause))


def _of_payload(error: aiohttp.ClientPayloadError) -> Trouble:
    cause = error.__cause__
    if isinstance(cause, ConnectionError) or "reset" in f"{error} {cause}".lower():
        return Trouble("connection_reset", "the connection broke inside the body")
    if "Not enough data" in f"{error} {cause}" or "not completed" in str(error):
        return Trouble("incomplete_body", "the connection ended before the body did")
    return Trouble("bad_encoding", f"{error} {cause or ''}")


def _of_parsing(error: aiohttp.ClientResponseError) -> Trouble:
    text = error.message or str(error)
    if "Got more than" in text or "Too many headers" in text:
        return Trouble("header_too_large", text)
    return Trouble("bad_encoding", f"not HTTP: {text}")
