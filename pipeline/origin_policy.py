"""What one origin states in its well-known files, as a record and as a table; also made from what a crawl captured."""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from filters import ai_txt, robots, rsl, tdmrep
from filters.urls import origin as origin_of

if TYPE_CHECKING:
    from pipeline.stage import Part
    from pipeline.store import Store

FileKind = Literal["ai.txt", "trust.txt", "rsl"]

MAX_ROBOTS_BYTES: Final = 512_000  # RFC 9309 §2.5: parse at least 500 KiB
MAX_TDMREP_BYTES: Final = 2_000_000
MAX_FILE_BYTES: Final[dict[FileKind, int]] = {
    "ai.txt": ai_txt.LIMIT_BYTES,
    "trust.txt": 256_000,
    "rsl": rsl.LIMIT_BYTES,
}
PATHS: Final[dict[FileKind, tuple[str, ...]]] = {
    "ai.txt": ("/ai.txt",),
    "trust.txt": ("/trust.txt", "/.well-known/trust.txt"),
}
"""Where a file stands; the second place is looked at only where nothing is in the first."""
DETAIL_CHARS: Final = 200
# Where the origin cannot be reached at all, its pictures share the reason; other trouble is the file's own.
ORIGIN_TROUBLE: Final = frozenset({"dns", "connect", "tls", "private_address", "url_invalid"})
NOT_JSON: Final = "not JSON"
_CAPTURE_BROKEN: Final = "capture_broken"

_FILE: Final = pa.struct(
    [
        pa.field("kind", pa.string()),
        pa.field("url", pa.string()),
        pa.field("status", pa.int16()),
        pa.field("body", pa.binary()),
        pa.field("trouble", pa.string()),
    ]
)
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
        pa.field("files", pa.list_(_FILE)),
    ]
)


def utc_now() -> datetime:
    """Return the time, with its zone."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class SmallFile:
    """One of the origin's other files, or what came instead of it."""

    kind: FileKind
    url: str
    status: int | None
    body: bytes  # empty when there is none
    trouble: str | None = None  # for people, when the file may be there but could not be read


@dataclass(frozen=True, slots=True)
class OriginPolicy:
    """Keep what one origin (scheme, host, port) states in its well-known files, with the time of asking."""

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
    files: tuple[SmallFile, ...] = ()  # those that are there, or may be

    @property
    def unreachable(self) -> str | None:
        """Return the reason that denies everything (RFC 9309 §2.3.1.4; 429 counts as 5xx), or None."""
        if self.robots_trouble == _CAPTURE_BROKEN:  # the crawler reached the file; it is we who cannot read its record
            return None
        if self.robots_status is not None and self.robots_trouble is None:
            return "robots_unreachable" if self.robots_status == 429 or self.robots_status >= 500 else None
        return self.robots_trouble if self.robots_trouble in ORIGIN_TROUBLE else "robots_unreachable"


def policies_table(policies: Sequence[OriginPolicy]) -> pa.Table:
    """Return policies as a POLICY table, in their order."""
    rows = [
        {name: getattr(policy, name) for name in POLICY.names} | {"files": [asdict(file) for file in policy.files]}
        for policy in policies
    ]
    return pa.Table.from_pylist(rows, schema=POLICY)


def table_policies(table: pa.Table) -> dict[str, OriginPolicy]:
    """Return the policies of a POLICY table by origin."""
    return {row["origin"]: _policy(row) for row in table.select(POLICY.names).to_pylist()}


def _policy(row: dict[str, Any]) -> OriginPolicy:
    files = tuple(SmallFile(**file) for file in row.pop("files") or ())
    return OriginPolicy(**row, files=files)


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
    bodies: Sequence[tuple[str, tuple[Sequence[tuple[str, str]], bytes]]],
    broken: Mapping[str, str] | None = None,
    token: str = "*",  # noqa: S107 (a crawler's name)
) -> list[OriginPolicy]:
    """Make policies from what a crawl recorded of the origins' files: (URL, (headers, body)) each.

    A file that the crawl does not hold, or holds in a record that is broken (URL → why), is unknown to it, not
    forbidden: the crawler itself was let in. Of licences, those that a robots.txt links for `token` are taken.
    """
    broken = dict(broken or {})
    files: dict[str, tuple[int, bytes]] = {}
    for url, (headers, body) in bodies:
        status = int(dict(headers[:1]).get(":status", "200"))
        if status > 999:  # HTTP has three digits
            broken[url] = f"status {status}"
            continue
        files.setdefault(url, (status, body if status < 300 else b""))
    spoken = {origin_of(url) for url in {*files, *broken} if _is_origin_file(url)}
    now = utc_now()
    policies = [_captured_policy(site, files, broken, now) for site in sorted(spoken)]
    return [replace(policy, files=_captured_files(policy, files, broken, token)) for policy in policies]


def _is_origin_file(url: str) -> bool:
    paths = ("/robots.txt", "/.well-known/tdmrep.json", *(path for paths in PATHS.values() for path in paths))
    return url[len(origin_of(url)) :] in paths


def _captured_policy(
    site: str, files: Mapping[str, tuple[int, bytes]], broken: Mapping[str, str], now: datetime
) -> OriginPolicy:
    robots_url, tdm_url = f"{site}/robots.txt", f"{site}/.well-known/tdmrep.json"
    status, text = files.get(robots_url, (404, b""))
    body, cut = text[:MAX_ROBOTS_BYTES], len(text) > MAX_ROBOTS_BYTES
    digest = hashlib.sha256(body).digest() if robots_url in files and status < 300 else None
    tdm_status, tdm = files.get(tdm_url, (404, b""))
    tdm_trouble = None
    if tdm_status < 300:
        tdm_trouble = NOT_JSON if tdmrep.parse_file(tdm) is None else None
    elif tdm_status < 400 or tdm_status == 429 or tdm_status >= 500:
        tdm_trouble = f"captured with status {tdm_status}"
    policy = OriginPolicy(site, status, None, None, body, digest, cut, tdm_status, tdm or None, tdm_trouble, now)
    if (why := broken.get(robots_url)) is not None:
        policy = replace(policy, robots_status=None, robots_trouble=_CAPTURE_BROKEN, robots_detail=why[:DETAIL_CHARS])
    if (why := broken.get(tdm_url)) is not None:
        policy = replace(policy, tdmrep_status=None, tdmrep_trouble=f"{_CAPTURE_BROKEN}: {why[:DETAIL_CHARS]}")
    return policy


def _captured_files(
    policy: OriginPolicy, files: Mapping[str, tuple[int, bytes]], broken: Mapping[str, str], token: str
) -> tuple[SmallFile, ...]:
    found: list[SmallFile] = []
    for kind, paths in PATHS.items():
        for path in paths:
            if (file := _captured_file(kind, policy.origin + path, files, broken)) is not None:
                found.append(file)
                break
    rules = robots.parse(policy.robots_body, truncated=policy.truncated)
    for url in rsl.robots_licences(rules, token, f"{policy.origin}/robots.txt")[:1]:
        held = _captured_file("rsl", url, files, broken)
        found.append(held or SmallFile("rsl", url, None, b"", "not in the crawl"))
    return tuple(found)


def _captured_file(
    kind: FileKind, url: str, files: Mapping[str, tuple[int, bytes]], broken: Mapping[str, str]
) -> SmallFile | None:
    if (why := broken.get(url)) is not None:
        return SmallFile(kind, url, None, b"", f"{_CAPTURE_BROKEN}: {why[:DETAIL_CHARS]}")
    status, body = files.get(url, (404, b""))
    if status < 300:
        too_large = len(body) > MAX_FILE_BYTES[kind]
        trouble = f"too_large: more than {MAX_FILE_BYTES[kind]} bytes" if too_large else None
        return SmallFile(kind, url, status, b"" if too_large else body, trouble)
    if status < 400 or status == 429 or status >= 500:
        return SmallFile(kind, url, status, b"", f"captured with status {status}")
    return None
