"""Ask a site, once, what it says about our coming, and apply it to every URL: robots.txt and tdmrep.json."""

import asyncio
import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from filters import robots, tdmrep
from filters.signal import Category, Signal, Value
from filters.urls import origin as origin_of
from filters.xrobots import denied, header_directives
from pipeline.client import Client, Headers, Reply, inflate, redirect_target, site_of
from pipeline.fetch_options import FetchOptions
from pipeline.lanes import in_lanes, run_loop
from pipeline.trouble import Trouble

if TYPE_CHECKING:
    from pipeline.stage import Part
    from pipeline.store import Store

Clock = Callable[[], datetime]

MAX_ROBOTS_BYTES: Final = 512_000  # RFC 9309 §2.5: parse at least 500 KiB
MAX_TDMREP_BYTES: Final = 2_000_000
MAX_HOPS: Final = 5  # RFC 9309 §2.3.1.2
_DETAIL_CHARS: Final = 200
CACHED_S: Final = 24 * 3600.0  # RFC 9309 §2.4
CACHED_DENIAL_S: Final = 600.0
_CACHED_ORIGINS: Final = 2000
# Where the origin cannot be reached at all, its pictures share the reason; other trouble is the file's own.
_ORIGIN_TROUBLE: Final = frozenset({"dns", "connect", "tls", "private_address", "url_invalid"})
_CAPTURE_BROKEN: Final = "capture_broken"
_NOT_JSON: Final = "not JSON"
_CATEGORY: Final[dict[str, Category]] = {"noai": "train", "noimageai": "train"}

POLICY: Final = pa.schema(
    [
        pa.field("origin", pa.string()),
        pa.field("robots_status", pa.int16()),
        pa.field("robots_trouble", pa.string()),
        pa.field("robots_detail", pa.string()),
        pa.field("robots_body", pa.binary()),
        pa.field("robots_sha256", pa.binary(32)),
        pa.field("truncated", pa.bool_()),
        pa.field("tdmrep_status", pa.int16()),
        pa.field("tdmrep_body", pa.binary()),
        pa.field("tdmrep_trouble", pa.string()),
        pa.field("observed_utc", pa.timestamp("us", tz="UTC")),
    ]
)


def utc_now() -> datetime:
    """Return the time, with its zone."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class OriginPolicy:
    """Keep what one origin (scheme, host, port) states in its two well-known files, with the time of asking."""

    origin: str
    robots_status: int | None  # of the last response; None when there was none
    robots_trouble: str | None  # reason, when the file could not be got
    robots_detail: str | None  # for people
    robots_body: bytes  # the first 500 KiB, unpacked
    robots_sha256: bytes | None  # of robots_body
    truncated: bool
    tdmrep_status: int | None
    tdmrep_body: bytes | None
    tdmrep_trouble: str | None  # for people, when the file may be there but could not be read
    observed_utc: datetime

    @property
    def unreachable(self) -> str | None:
        """Return the reason that denies everything (RFC 9309 §2.3.1.4; 429 counts as 5xx), or None."""
        if self.robots_trouble == _CAPTURE_BROKEN:  # the crawler reached the file; it is we who cannot read its record
            return None
        if self.robots_status is not None and self.robots_trouble is None:
            return "robots_unreachable" if self.robots_status == 429 or self.robots_status >= 500 else None
        return self.robots_trouble if self.robots_trouble in _ORIGIN_TROUBLE else "robots_unreachable"


def policies_table(policies: Sequence[OriginPolicy]) -> pa.Table:
    """Return policies as a POLICY table, in their order."""
    names = POLICY.names
    return pa.Table.from_pylist([{name: getattr(policy, name) for name in names} for policy in policies], schema=POLICY)


def table_policies(table: pa.Table) -> dict[str, OriginPolicy]:
    """Return the policies of a POLICY table by origin."""
    return {row["origin"]: OriginPolicy(**row) for row in table.select(POLICY.names).to_pylist()}


def read_policies(store: "Store", parts: Sequence["Part"], origins: Collection[str] | None) -> dict[str, OriginPolicy]:
    """Return the policies of committed permission parts, those of `origins` alone unless it is None.

    A later part's word on an origin goes over an earlier's.
    """
    wanted = None if origins is None else pc.field("origin").isin(pa.array(sorted(origins), pa.string()))
    found: dict[str, OriginPolicy] = {}
    for part in parts:
        with part.open(store, "parquet") as handle:  # the schema: tables of an earlier version lack columns
            found.update(table_policies(pq.read_table(handle, schema=POLICY, filters=wanted)))
    return found


def captured_policies(
    bodies: Sequence[tuple[str, tuple[Sequence[tuple[str, str]], bytes]]], broken: Mapping[str, str] | None = None
) -> list[OriginPolicy]:
    """Make policies from what a crawl recorded of robots.txt and tdmrep.json: (URL, (headers, body)) each.

    A file that the crawl does not hold, or holds in a record that is broken (URL → why), is unknown to it, not
    forbidden: the crawler itself was let in.
    """
    broken = dict(broken or {})
    files: dict[str, dict[str, tuple[int, bytes]]] = {}
    for url, (headers, body) in bodies:
        site = origin_of(url)
        status = int(dict(headers[:1]).get(":status", "200"))
        if status > 999:  # HTTP has three digits
            broken[url] = f"status {status}"
            continue
        files.setdefault(site, {}).setdefault(url[len(site) :], (status, body if status < 300 else b""))
    now = utc_now()
    return [
        _captured_policy(site, files.get(site, {}), broken, now)
        for site in sorted(files.keys() | {origin_of(url) for url in broken})
    ]


def _captured_policy(
    site: str, found: Mapping[str, tuple[int, bytes]], broken: Mapping[str, str], now: datetime
) -> OriginPolicy:
    status, text = found.get("/robots.txt", (404, b""))
    body, cut = text[:MAX_ROBOTS_BYTES], len(text) > MAX_ROBOTS_BYTES
    digest = hashlib.sha256(body).digest() if "/robots.txt" in found and status < 300 else None
    tdm_status, tdm = found.get("/.well-known/tdmrep.json", (404, b""))
    tdm_trouble = None
    if tdm_status < 300:
        tdm_trouble = _NOT_JSON if tdmrep.parse_file(tdm) is None else None
    elif tdm_status < 400 or tdm_status == 429 or tdm_status >= 500:
        tdm_trouble = f"captured with status {tdm_status}"
    policy = OriginPolicy(site, status, None, None, body, digest, cut, tdm_status, tdm or None, tdm_trouble, now)
    if (why := broken.get(f"{site}/robots.txt")) is not None:
        policy = replace(policy, robots_status=None, robots_trouble=_CAPTURE_BROKEN, robots_detail=why[:_DETAIL_CHARS])
    if (why := broken.get(f"{site}/.well-known/tdmrep.json")) is not None:
        trouble = f"{_CAPTURE_BROKEN}: {why[:_DETAIL_CHARS]}"
        policy = replace(policy, tdmrep_status=None, tdmrep_trouble=trouble)
    return policy


async def ask_origin(client: Client, origin: str, clock: Clock = utc_now) -> OriginPolicy:
    """Fetch an origin's robots.txt and tdmrep.json; whatever happens is part of the answer."""
    now = clock()
    status, trouble, detail, body, cut = await _robots(client, origin)
    digest = hashlib.sha256(body).digest() if body or (status is not None and 200 <= status < 300) else None
    policy = OriginPolicy(origin, status, trouble, detail, body, digest, cut, None, None, None, now)
    if policy.unreachable is not None:
        return policy
    tdm_status, tdm_body, tdm_trouble = await _tdmrep(client, origin)
    return replace(policy, tdmrep_status=tdm_status, tdmrep_body=tdm_body, tdmrep_trouble=tdm_trouble)


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
    limit_s = client.options.timeout_s
    try:
        async with asyncio.timeout(limit_s):  # its own: a slow tdmrep.json must not turn into a slow robots.txt
            reply = await _well_known(client, f"{origin}/.well-known/tdmrep.json", MAX_TDMREP_BYTES)
        if reply.cut:
            return reply.status, None, f"too_large: more than {MAX_TDMREP_BYTES} bytes"
        body = inflate(reply.body, reply.encoding, MAX_TDMREP_BYTES)
        return reply.status, body, _NOT_JSON if tdmrep.parse_file(body) is None else None
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
            if hop and error.reason in _ORIGIN_TROUBLE:  # somebody else's host, not the origin's
                raise Trouble("robots_unreachable", f"redirected to {url}: {error.detail}") from error
            raise
        if url in seen:
            raise Trouble("redirect_loop", url, status=reply.status)
    raise Trouble("too_many_redirects", url, status=reply.status)


def fetch_policies(origins: Sequence[str], *, options: FetchOptions, clock: Clock = utc_now) -> list[OriginPolicy]:
    """Ask each origin once; the answers come in the order of `origins`."""

    async def ask_all() -> list[OriginPolicy]:
        async with Client(options) as client:

            async def ask(origin: str) -> OriginPolicy:
                return await ask_origin(client, origin, clock)

            return await in_lanes(ask, list(origins), lanes=options.concurrency)

    return run_loop(ask_all())


class _Cache:
    """Remember, in this process, origins that redirects led to: 24 hours, denials ten minutes, a bounded number."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, str], tuple[float, OriginPolicy]] = OrderedDict()

    def get(self, key: tuple[str, str]) -> OriginPolicy | None:
        with self._lock:
            found = self._kept.get(key)
            return found[1] if found and time.monotonic() < found[0] else None

    def put(self, key: tuple[str, str], policy: OriginPolicy) -> None:
        seconds = CACHED_DENIAL_S if policy.unreachable else CACHED_S
        with self._lock:
            self._kept[key] = (time.monotonic() + seconds, policy)
            self._kept.move_to_end(key)
            while len(self._kept) > _CACHED_ORIGINS:
                self._kept.popitem(last=False)


_CACHE: Final = _Cache()


@dataclass(slots=True)
class _Rules:
    policy: OriginPolicy
    robots: robots.Robots
    tdm: tdmrep.Tdmrep | None


@dataclass(slots=True)
class Gatekeeper:
    """Judge URLs by their origins' policies and by response headers; every statement met becomes a Signal."""

    options: FetchOptions
    policies: Mapping[str, OriginPolicy]
    client: Client | None = None  # None: judge by known policies alone, ask nobody
    clock: Clock = utc_now
    _rules: dict[str, _Rules] = field(default_factory=dict)
    _found: dict[str, OriginPolicy] = field(default_factory=dict)
    _asked: dict[str, "asyncio.Future[OriginPolicy]"] = field(default_factory=dict)

    async def may_ask(self, url: str, signals: list[Signal]) -> None:
        """Judge a URL before anything is sent: robots.txt, then tdmrep.json; unknown origins are asked first."""
        if not self.options.robots:
            return
        origin = site_of(url)
        policy = self.policies.get(origin) or self._found.get(origin)
        if policy is None and self.client is not None:
            policy = self._found[origin] = await self._look_up(self.client, origin)
        if policy is not None:
            self.judge_policy(url, policy, signals)

    def close(self) -> None:
        """Stop asking origins that nobody waits for any more."""
        for asking in self._asked.values():
            asking.cancel()

    async def _look_up(self, client: Client, origin: str) -> OriginPolicy:
        options = self.options
        key = (origin, f"{options.user_agent} {sorted(options.allow_hosts)} {sorted(options.hosts.items())}")
        if (cached := _CACHE.get(key)) is not None:
            return cached
        asking = self._asked.get(origin)
        if asking is None:
            asking = self._asked[origin] = asyncio.ensure_future(ask_origin(client, origin, self.clock))
        policy: OriginPolicy = await asyncio.shield(asking)
        _CACHE.put(key, policy)
        return policy

    def judge_policy(self, url: str, policy: OriginPolicy, signals: list[Signal]) -> None:
        """Apply one origin's policy to a URL; Trouble when it denies."""
        rules = self._rules.get(policy.origin)
        if rules is None or rules.policy is not policy:
            tdm = tdmrep.parse_file(policy.tdmrep_body) if policy.tdmrep_body else None
            rules = _Rules(policy, robots.parse(policy.robots_body, truncated=policy.truncated), tdm)
            self._rules[policy.origin] = rules
        self._judge_robots(url, rules, signals)
        self._judge_tdmrep(url, rules, signals)

    def _judge_robots(self, url: str, rules: _Rules, signals: list[Signal]) -> None:
        policy, token = rules.policy, self.options.user_agent_token
        subject = f"{policy.origin}/robots.txt"
        scope = token if token.lower() in rules.robots.groups else "*"

        def note(value: Value, raw: str) -> None:
            signals.append(Signal(subject, "path", "robots.txt", "crawl", value, scope, raw, policy.observed_utc))

        if (reason := policy.unreachable) is not None:
            state = f"{policy.robots_trouble or 'status'}: {policy.robots_detail or policy.robots_status}"
            note("deny", state)
            raise Trouble(reason, f"robots.txt: {state}")
        said = f"status {policy.robots_status}, no rule"
        if policy.robots_trouble is not None:
            said = f"{policy.robots_trouble}: {policy.robots_detail}"
        if not rules.robots.groups:
            note("unknown", said)
            return
        verdict = rules.robots.verdict(url, token)
        if not verdict.allowed:
            note("deny", verdict.rule)
            raise Trouble("robots_disallow", f"robots.txt line {verdict.line}: {verdict.rule}")
        note("allow" if verdict.rule else "unknown", verdict.rule or said)

    def _judge_tdmrep(self, url: str, rules: _Rules, signals: list[Signal]) -> None:
        policy, subject = rules.policy, f"{rules.policy.origin}/.well-known/tdmrep.json"
        observed = policy.observed_utc
        trouble = policy.tdmrep_trouble
        if trouble is None and policy.tdmrep_body is not None and rules.tdm is None:
            trouble = _NOT_JSON
        if trouble is not None:
            signals.append(Signal(subject, "path", "tdmrep.json", "tdm", "unknown", "*", trouble, observed))
            return
        if rules.tdm is None:
            return
        found = rules.tdm.reservation(url)
        if found.value is None and not found.raw:
            return
        value: Value = "unknown" if found.value is None else "deny" if found.value else "allow"
        signals.append(Signal(subject, "path", "tdmrep.json", "tdm", value, "*", found.raw, observed))
        # A header could supersede the file, but to see it we would have to ask for what is reserved: we do not.
        if found.value == 1:
            raise Trouble("tdm_reserved", f"tdmrep.json: {found.raw}")

    def may_use(self, url: str, headers: Headers, signals: list[Signal]) -> None:
        """Judge by a response's headers: X-Robots-Tag for our token, and the TDM reservation."""
        if (lines := headers.getall("X-Robots-Tag", None)) is not None:
            self._judge_xrobots(url, lines, signals)
        if (fields := headers.getall("tdm-reservation", None)) is not None:
            text = ", ".join(fields)
            header = tdmrep.header_value(text)
            value: Value = "unknown" if header is None else "deny" if header else "allow"
            policy = headers.get("tdm-policy", "")
            raw = f"tdm-reservation: {text}" + (f"; tdm-policy: {policy}" if policy else "")
            signals.append(Signal(url, "asset", "tdm-header", "tdm", value, "*", raw[:1000], self.clock()))
            if header == 1:
                raise Trouble("tdm_reserved", raw)

    def _judge_xrobots(self, url: str, lines: Sequence[str], signals: list[Signal]) -> None:
        directives = header_directives(lines, self.options.user_agent_token)
        directive = denied(directives, tuple(self.options.disallowed))
        category = _CATEGORY.get(directive or "noai", "search")
        raw = "\n".join(lines)[:1000]
        value: Value = "unknown" if directive is None else "deny"
        signals.append(Signal(url, "asset", "x-robots-tag", category, value, "*", raw, self.clock()))
        if directive is not None:
            raise Trouble("noai_header", f"X-Robots-Tag: {directive}")
