"""Get one URL over HTTP: guarded, polite, bounded in bytes and time, following redirects hop by hop."""

import asyncio
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Literal, Protocol, Self
from urllib.parse import urlsplit

import aiohttp
from aiohttp import hdrs
from aiohttp.http_exceptions import HttpProcessingError
from multidict import CIMultiDictProxy
from yarl import URL

from filters.signal import Signal
from filters.urls import canonical_url
from pipeline.fetch_options import FetchOptions
from pipeline.net import DIALLING, Dial, Guard, guarded_connector
from pipeline.politeness import HostClosed, Politeness, backoff_s, retry_after_s
from pipeline.trouble import Trouble, of_exception

Headers = CIMultiDictProxy[str]
Method = Literal["GET", "HEAD"]

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_BUFFER_BYTES = 1 << 18
_LINE_BYTES = 8190
_MAX_HEADERS = 128
# What a request may raise. TimeoutError and socket errors are OSError.
_RAISED = (aiohttp.ClientError, HttpProcessingError, OSError)


@dataclass(frozen=True, slots=True)
class Reply:
    """Hold one response whose body was read as far as wanted."""

    url: str
    status: int
    headers: Headers
    body: bytes  # as sent, Content-Encoding still on it
    cut: bool = False

    @property
    def encoding(self) -> str:
        """Return Content-Encoding, lower-case; "" for none."""
        coding = self.headers.get(hdrs.CONTENT_ENCODING, "").strip().lower()
        return "" if coding == "identity" else coding


@dataclass(slots=True)
class Lease:
    """Count the bytes one download holds of the budget."""

    held_bytes: int = 0
    overdraft: bool = False


class ByteBudget:
    """Bound the bytes all downloads hold; who finds them used up goes on alone, so that nobody waits in a ring."""

    def __init__(self, total_bytes: int) -> None:
        self._total_bytes = total_bytes
        self._used_bytes = 0
        self._overdraft = asyncio.Lock()

    async def take(self, lease: Lease, count: int) -> None:
        """Add `count` bytes to a lease."""
        if self._used_bytes + count > self._total_bytes and not lease.overdraft:
            await self._overdraft.acquire()
            lease.overdraft = True
        self._used_bytes += count
        lease.held_bytes += count

    def give_back(self, lease: Lease) -> None:
        """End a lease."""
        self._used_bytes -= lease.held_bytes
        lease.held_bytes = 0
        if lease.overdraft:
            lease.overdraft = False
            self._overdraft.release()


class Gate(Protocol):
    """Decide, for each hop, whether a URL may be asked and whether its answer may be used; refusals are Trouble."""

    async def may_ask(self, url: str, signals: list[Signal]) -> None:
        """Judge before anything is sent."""

    def may_use(self, url: str, headers: Headers, signals: list[Signal]) -> None:
        """Judge by the headers, before the body is read."""


@dataclass(slots=True)
class Download:
    """Tell how one URL ended: a reply with a body, or a trouble."""

    url: str
    final_url: str
    reply: Reply | None = None
    trouble: Trouble | None = None
    http_status: int | None = None
    content_type: str | None = None
    signals: list[Signal] = field(default_factory=list)
    lease: Lease = field(default_factory=Lease)


class Client:
    """Fetch URLs for one part; an async context manager that lives in one event loop."""

    def __init__(self, options: FetchOptions) -> None:
        self.options = options
        self.guard = Guard(options.allow_hosts)
        self.budget = ByteBudget(options.budget_bytes)
        self._polite = Politeness(options.host_concurrency, options.breaker_failures, options.breaker_s)
        self._refusals: dict[str, str | None] = {}
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        options = self.options
        self._session = aiohttp.ClientSession(
            connector=guarded_connector(
                self.guard, hosts=options.hosts, connections=2 * options.concurrency, timeout_s=options.connect_s
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": options.user_agent, "Accept": "image/*,*/*;q=0.5", "Accept-Encoding": "identity"},
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=options.connect_s),
            auto_decompress=False,
            trust_env=False,
            read_bufsize=_BUFFER_BYTES,
            max_line_size=_LINE_BYTES,
            max_field_size=_LINE_BYTES,
            max_headers=_MAX_HEADERS,
        )
        self._session._retry_connection = False  # aiohttp would ask twice at once; trying again is ours, with pauses
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._session is not None
        await self._session.close()

    async def download(self, url: str, gate: Gate, method: Method = "GET") -> Download:
        """Get a picture's bytes, or the reason why not, within `timeout_s`; ending the lease is up to the caller.

        With HEAD nothing but the headers of every hop is asked for and judged.
        """
        result = Download(url, url)
        try:
            async with asyncio.timeout(self.options.timeout_s):
                await self._follow(result, gate, method)
        except TimeoutError:
            result.trouble = Trouble("timeout", f"not done after {self.options.timeout_s:g} s")
        except Trouble as trouble:
            result.trouble = trouble
            result.http_status = trouble.status or result.http_status
        if result.trouble is not None:
            self.budget.give_back(result.lease)
        return result

    async def _follow(self, result: Download, gate: Gate, method: Method) -> None:
        deadline_s = asyncio.get_running_loop().time() + self.options.timeout_s
        url, seen = result.url, {result.url}
        for _ in range(self.options.max_redirects + 1):
            result.final_url = url
            self.site(url)
            await gate.may_ask(url, result.signals)

            def judge(headers: Headers, url: str = url) -> None:
                result.content_type = headers.get(hdrs.CONTENT_TYPE)
                gate.may_use(url, headers, result.signals)

            reply = await self.request(url, deadline_s=deadline_s, judge=judge, lease=result.lease, method=method)
            result.http_status = reply.status
            if reply.status not in _REDIRECTS:
                result.reply = reply if method == "HEAD" else _with_body(reply)
                return
            url = redirect_target(reply)
            if url in seen:
                raise Trouble("redirect_loop", f"back at {url}", status=reply.status)
            seen.add(url)
        raise Trouble("too_many_redirects", f"more than {self.options.max_redirects}", status=reply.status)

    def site(self, url: str) -> str:
        """Return a canonical URL's origin; Trouble when its host is a private address, without a word to anybody."""
        origin = site_of(url)
        refusal = self._refusals.get(origin, "unknown")
        if refusal == "unknown":
            try:
                parts = urlsplit(origin)
                port = parts.port or (443 if parts.scheme == "https" else 80)
            except ValueError as error:
                raise Trouble("url_invalid", str(error)) from error
            refusal = self._refusals[origin] = self.guard.literal_refusal(parts.hostname or "", port)
        if refusal is not None:
            raise Trouble("private_address", refusal)
        return origin

    async def request(
        self,
        url: str,
        *,
        deadline_s: float,
        judge: Callable[[Headers], None] | None = None,
        lease: Lease | None = None,
        max_bytes: int | None = None,
        cut: bool = False,
        method: Method = "GET",
    ) -> Reply:
        """Ask once, and again after transient trouble while the deadline (loop time) allows; Trouble otherwise.

        `max_bytes` bounds the body; a longer one is too_large, or is cut off there and kept if `cut`.
        """
        lease = lease or Lease()
        name = site_of(url)
        trouble: Trouble | None = None
        for attempt in range(self.options.retries + 1):
            if trouble is not None:
                await self._wait(trouble, attempt - 1, deadline_s)
            try:
                async with self._polite.turn(name, deadline_s) as host:
                    try:
                        reply = await self._once(url, judge, lease, max_bytes or self.options.max_bytes, cut, method)
                    except _RAISED as error:
                        trouble = of_exception(error)
                    except Trouble as error:
                        trouble = error
                    else:
                        self._polite.worked(host)
                        return reply
                    if trouble.transient:
                        self._polite.failed(host, trouble.reason, trouble.pause_s)
            except HostClosed as closed:
                raise trouble or Trouble("circuit_open", str(closed)) from None
            self.budget.give_back(lease)
            if not trouble.transient:
                break
        assert trouble is not None
        raise trouble

    async def _wait(self, trouble: Trouble, attempt: int, deadline_s: float) -> None:
        pause_s = max(backoff_s(attempt), trouble.pause_s or 0.0)
        if asyncio.get_running_loop().time() + pause_s >= deadline_s:
            raise trouble
        await asyncio.sleep(pause_s)

    async def _once(
        self, url: str, judge: Callable[[Headers], None] | None, lease: Lease, max_bytes: int, cut: bool, method: Method
    ) -> Reply:
        assert self._session is not None
        try:
            target = URL(url, encoded=True)
        except ValueError as error:
            raise Trouble("url_invalid", str(error)) from error
        dial = Dial(target.raw_host or "")
        token = DIALLING.set(dial)
        try:
            async with self._session.request(method, target, allow_redirects=False) as response:
                status, headers = response.status, response.headers
                if status in _REDIRECTS or 200 <= status < 300:
                    if judge is not None:
                        judge(headers)
                    if status in _REDIRECTS or method == "HEAD":
                        return Reply(url, status, headers, b"")
                    body, was_cut = await self._read(response, lease, max_bytes, cut)
                    return Reply(url, status, headers, body, was_cut)
                raise _of_status(status, headers)
        except aiohttp.ClientConnectorError as error:
            if dial.refused:
                raise Trouble("private_address", dial.refused[0]) from error
            raise
        finally:
            DIALLING.reset(token)

    async def _read(
        self, response: aiohttp.ClientResponse, lease: Lease, max_bytes: int, cut: bool
    ) -> tuple[bytes, bool]:
        length = response.content_length
        if length is not None and length <= max_bytes:
            await self.budget.take(lease, length)
            return await response.read(), False
        if length is not None and not cut:
            raise Trouble("too_large", f"{length} bytes announced, more than {max_bytes}", status=response.status)
        chunks: list[bytes] = []
        total = 0
        async for chunk in response.content.iter_any():
            await self.budget.take(lease, len(chunk))
            chunks.append(chunk)
            total += len(chunk)
            if total > max_bytes:
                if not cut:
                    raise Trouble("too_large", f"more than {max_bytes} bytes", status=response.status)
                return b"".join(chunks)[:max_bytes], True
        return b"".join(chunks), False


def site_of(url: str) -> str:
    """Return the origin of a canonical URL, which needs no parsing."""
    return url[: url.index("/", 8)]


def _with_body(reply: Reply) -> Reply:
    if not reply.body:
        raise Trouble("empty_body", "a response without content", status=reply.status)
    return reply


def _of_status(status: int, headers: Headers) -> Trouble:
    pause_s = retry_after_s(headers.get(hdrs.RETRY_AFTER), time.time())
    if status == 429:
        return Trouble("http_429", "Too Many Requests", status=status, pause_s=pause_s)
    if status >= 500:
        return Trouble("http_5xx", f"status {status}", status=status, pause_s=pause_s)
    return Trouble("http_4xx", f"status {status}", status=status)


def redirect_target(reply: Reply) -> str:
    """Return the canonical URL a redirect points to; Trouble when it leads out of http(s) or nowhere."""
    location = reply.headers.get(hdrs.LOCATION)
    if not location:
        raise Trouble("url_invalid", f"status {reply.status} without a Location", status=reply.status)
    raw = location.encode("utf-8", "surrogateescape")
    try:
        location = raw.decode("utf-8")
    except UnicodeDecodeError:
        location = raw.decode("latin-1")
    if (target := canonical_url(location, reply.url)) is not None:
        return target
    scheme = location.partition(":")[0].strip().lower()
    if ":" in location and scheme.isalnum() and scheme not in ("http", "https"):
        raise Trouble("redirect_scheme", f"redirected to a {scheme}: URL", status=reply.status)
    raise Trouble("url_invalid", f"redirected to {location[:200]!r}", status=reply.status)


def inflate(body: bytes, encoding: str, max_bytes: int) -> bytes:
    """Undo a Content-Encoding of gzip or deflate (RFC 9110 §8.4.1) up to `max_bytes`; Trouble for bombs and others."""
    if not encoding:
        return body
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise Trouble("bad_encoding", f"Content-Encoding {encoding[:40]!r}, although none was asked for")
    raw_deflate = encoding == "deflate" and (len(body) < 2 or int.from_bytes(body[:2], "big") % 31 or body[0] & 15 != 8)
    machine = zlib.decompressobj(-15 if raw_deflate else 47)
    try:
        plain = machine.decompress(body, max_bytes + 1)
    except zlib.error as error:
        raise Trouble("bad_encoding", f"{encoding}: {error}") from error
    if len(plain) > max_bytes:
        raise Trouble("bad_encoding", f"{encoding}: {len(body)} bytes unpack to more than {max_bytes}")
    if not machine.eof:
        raise Trouble("bad_encoding", f"{encoding}: ends early")
    return plain
