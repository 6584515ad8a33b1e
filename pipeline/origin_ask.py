"""Ask a site, once, what it says about our coming and about the use of what it shows: a handful of small files."""

import asyncio
import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

from filters import robots, rsl, tdmrep
from pipeline.client import Client, Reply, inflate, redirect_target
from pipeline.fetch_options import FetchOptions
from pipeline.lanes import in_lanes, run_loop
from pipeline.origin_policy import (
    MAX_FILE_BYTES,
    MAX_ROBOTS_BYTES,
    MAX_TDMREP_BYTES,
    NOT_JSON,
    ORIGIN_TROUBLE,
    PATHS,
    FileKind,
    OriginPolicy,
    SmallFile,
    utc_now,
)
from pipeline.trouble import Trouble

Clock = Callable[[], datetime]
Licences = dict[str, SmallFile]
"""Licence files by URL: many sites link one and the same."""

MAX_HOPS: Final = 5  # RFC 9309 §2.3.1.2
CACHED_S: Final = 24 * 3600.0  # RFC 9309 §2.4
CACHED_DENIAL_S: Final = 600.0
_CACHED_ORIGINS: Final = 2000
_MAX_LICENCES: Final = 500
_SITE_DOWN: Final = ("timeout", "connection_reset", "connect", "circuit_open", "dns", "tls")


async def ask_origin(
    client: Client, origin: str, clock: Clock = utc_now, licences: Licences | None = None
) -> OriginPolicy:
    """Fetch an origin's robots.txt, tdmrep.json, ai.txt, trust.txt and the licence that its robots.txt links.

    Whatever happens is part of the answer. One after the other, and no more once the host stops answering.
    """
    now = clock()
    status, trouble, detail, body, cut = await _robots(client, origin)
    digest = hashlib.sha256(body).digest() if body or (status is not None and 200 <= status < 300) else None
    policy = OriginPolicy(origin, status, trouble, detail, body, digest, cut, None, None, None, now)
    if policy.unreachable is not None:
        return policy
    tdm_status, tdm_body, tdm_trouble = await _tdmrep(client, origin)
    policy = replace(policy, tdmrep_status=tdm_status, tdmrep_body=tdm_body, tdmrep_trouble=tdm_trouble)
    return replace(policy, files=await _files(client, policy, {} if licences is None else licences))


async def _robots(client: Client, origin: str) -> tuple[int | None, str | None, str | None, bytes, bool]:
    try:
        async with asyncio.timeout(2 * client.options.timeout_s):
            reply = await _well_known(client, f"{origin}/robots.txt", MAX_ROBOTS_BYTES)
        body = inflate(reply.body, "" if reply.cut else reply.encoding, 8 * MAX_ROBOTS_BYTES)
        return reply.status, None, None, body[:MAX_ROBOTS_BYTES], reply.cut or len(body) > MAX_ROBOTS_BYTES
    except Trouble as error:
        if error.reason in ("http_4xx", "http_429", "http_5xx", "too_many_redirects", "redirect_loop"):
            return error.status, None, error.detail, b"", False  # more than five hops: "unavailable", as a 4xx
        return error.status, error.reason, error.detail, b"", False
    except TimeoutError:
        return None, "timeout", "no end", b"", False


async def _tdmrep(client: Client, origin: str) -> tuple[int | None, bytes | None, str | None]:
    """Return status, body and trouble; without a body "the origin does not implement" (TDMRep §5.1) a reservation."""
    status, body, trouble = await _small(client, f"{origin}/.well-known/tdmrep.json", MAX_TDMREP_BYTES)
    if body is not None and tdmrep.parse_file(body) is None:
        trouble = NOT_JSON
    return status, body, trouble


async def _files(client: Client, policy: OriginPolicy, licences: Licences) -> tuple[SmallFile, ...]:
    found: list[SmallFile] = []
    off = client.options.policy.off
    for kind, paths in PATHS.items():
        if kind in off:
            continue
        for path in paths:
            if _down(policy.tdmrep_trouble) or any(_down(file.trouble) for file in found):
                break  # it had its chance; asking on would only hold up the others
            file = await _file(client, kind, policy.origin + path)
            if file is not None:
                found.append(file)
                break
    if "rsl" not in off:
        rules = robots.parse(policy.robots_body, truncated=policy.truncated)
        token = client.options.user_agent_token
        linked = rsl.robots_licences(rules, token, f"{policy.origin}/robots.txt")
        found += [await _licence(client, url, licences) for url in linked[:1]]
    return tuple(found)


def _down(trouble: str | None) -> bool:
    return (trouble or "").partition(":")[0] in _SITE_DOWN


async def _file(client: Client, kind: FileKind, url: str) -> SmallFile | None:
    status, body, trouble = await _small(client, url, MAX_FILE_BYTES[kind])
    return SmallFile(kind, url, status, body or b"", trouble) if body is not None or trouble is not None else None


async def _licence(client: Client, url: str, licences: Licences) -> SmallFile:
    if url not in licences:
        asked = await _file(client, "rsl", url)
        if len(licences) >= _MAX_LICENCES:
            licences.clear()
        licences[url] = asked or SmallFile("rsl", url, None, b"", "linked, but not there")
    return licences[url]


async def _small(client: Client, url: str, max_bytes: int) -> tuple[int | None, bytes | None, str | None]:
    """Return status, body and trouble of a file that may be absent: then there is neither body nor trouble."""
    limit_s = client.options.timeout_s
    try:
        async with asyncio.timeout(limit_s):  # its own: a slow small file must not turn into a slow robots.txt
            reply = await _well_known(client, url, max_bytes)
        if reply.cut:
            return reply.status, None, f"too_large: more than {max_bytes} bytes"
        return reply.status, inflate(reply.body, reply.encoding, max_bytes), None
    except Trouble as error:
        if error.reason == "http_4xx":  # no file: that is no trouble
            return error.status, None, None
        reason = "redirect" if error.reason == "robots_unreachable" else error.reason
        return error.status, None, f"{reason}: {error.detail}"
    except TimeoutError:
        return None, None, f"timeout: no end after {limit_s:g} s"


async def _well_known(client: Client, url: str, max_bytes: int) -> Reply:
    deadline_s = asyncio.get_running_loop().time() + client.options.timeout_s
    seen: set[str] = set()
    for hop in range(MAX_HOPS + 1):
        seen.add(url)
        try:
            client.site(url)
            reply = await client.request(url, deadline_s=deadline_s, max_bytes=max_bytes, cut=True)
            if reply.status < 300:
                return reply
            url = redirect_target(reply)
        except Trouble as error:
            if hop and error.reason in ORIGIN_TROUBLE:  # somebody else's host, not the origin's
                raise Trouble("robots_unreachable", f"redirected to {url}: {error.detail}") from error
            raise
        if url in seen:
            raise Trouble("redirect_loop", url, status=reply.status)
    raise Trouble("too_many_redirects", url, status=reply.status)


def fetch_policies(origins: Sequence[str], *, options: FetchOptions, clock: Clock = utc_now) -> list[OriginPolicy]:
    """Ask each origin once; the answers come in the order of `origins`."""

    async def ask_all() -> list[OriginPolicy]:
        licences: Licences = {}
        async with Client(options) as client:

            async def ask(origin: str) -> OriginPolicy:
                return await ask_origin(client, origin, clock, licences)

            return await in_lanes(ask, list(origins), lanes=options.concurrency)

    return run_loop(ask_all())


class Cache:
    """Remember, in this process, origins that redirects led to: 24 hours, denials ten minutes, a bounded number."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, str], tuple[float, OriginPolicy]] = OrderedDict()

    def get(self, key: tuple[str, str]) -> OriginPolicy | None:
        """Return what is remembered and still fresh."""
        with self._lock:
            found = self._kept.get(key)
            return found[1] if found and time.monotonic() < found[0] else None

    def put(self, key: tuple[str, str], policy: OriginPolicy) -> None:
        """Remember a policy, and forget the oldest where there are too many."""
        seconds = CACHED_DENIAL_S if policy.unreachable else CACHED_S
        with self._lock:
            self._kept[key] = (time.monotonic() + seconds, policy)
            self._kept.move_to_end(key)
            while len(self._kept) > _CACHED_ORIGINS:
                self._kept.popitem(last=False)


CACHE: Final = Cache()
