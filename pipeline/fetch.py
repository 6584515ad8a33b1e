"""Fetch one part: from rows with URLs to one tar of pictures and one row of facts for each row asked for."""

import asyncio
import math
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import pyarrow as pa
from multidict import CIMultiDict, CIMultiDictProxy

from filters.signal import Signal
from filters.urls import canonical_url, origin
from pipeline.client import Client
from pipeline.errors import FormatError
from pipeline.fetch_options import FetchOptions
from pipeline.image import PixelGate
from pipeline.lanes import in_fair_lanes, run_loop
from pipeline.origin_share import OriginShare
from pipeline.permission import Clock, Gatekeeper, OriginPolicy, utc_now
from pipeline.picture import Fate, keep
from pipeline.refusals import OPTED_OUT, PictureGuard
from pipeline.schema import FETCH, SIGNAL
from pipeline.spool import Spool
from pipeline.trouble import Trouble
from pipeline.workers import Workers

__all__ = ["FetchOptions", "FetchResult", "fetch_rows"]

_PLAIN_PATH = re.compile(r"/[A-Za-z0-9_.~/-]*")


@dataclass(frozen=True)
class FetchResult:
    """One part's outcome: FETCH rows sorted by uid, SIGNAL rows by URL, and counts."""

    table: pa.Table
    signals: pa.Table
    stats: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Capture:
    """Say where a crawl holds a response."""

    kind: str
    uri: str
    offset: int
    size_bytes: int


@dataclass(slots=True)
class Job:
    """One distinct URL, with the first uid that asks for it."""

    url: str
    first_uid: bytes
    capture: Capture | None
    fate: Fate | None = None
    signals: list[Signal] = field(default_factory=list)


def fetch_rows(
    rows: pa.Table,
    *,
    options: FetchOptions,
    policies: Mapping[str, OriginPolicy],
    out_tar: Path,
    guard: PictureGuard | None = None,
    share: OriginShare | None = None,
    clock: Clock = utc_now,
) -> FetchResult:
    """Fetch the pictures of `rows` (uid, url, capture_*); each URL once, however many rows name it.

    The tar's bytes depend on the responses alone: members are in the order of their first uid.
    """
    if options.engine == "img2dataset":
        from pipeline.fetch_img2dataset import fetch_rows_img2dataset

        return fetch_rows_img2dataset(
            rows, options=options, policies=policies, guard=guard, share=share, out_tar=out_tar, clock=clock
        )
    began_s = time.monotonic()
    jobs, job_of_row = plan(rows, from_warc=options.from_warc)
    with Spool(out_tar.parent) as spool:
        run_loop(_Part(options, policies, clock, spool, guard, share).run(jobs))
        offsets = write_tar(spool, jobs, out_tar, options.extension)
    return collect(rows, jobs, job_of_row, offsets, began_s)


def plan(rows: pa.Table, *, from_warc: bool) -> tuple[list[Job], list[int]]:
    """Return the distinct URLs in the order of their first uid, and for each row (sorted by uid) its URL's number."""
    ordered = rows.sort_by("uid").to_pydict()
    jobs: list[Job] = []
    number: dict[str, int] = {}
    job_of_row = []
    kinds = ordered.get("capture_kind", [None] * rows.num_rows)
    for row, (uid, url) in enumerate(zip(ordered["uid"], ordered["url"], strict=True)):
        at = number.get(url)
        if at is None:
            at = number[url] = len(jobs)
            jobs.append(Job(url, uid, None))
        if from_warc and kinds[row] is not None and jobs[at].capture is None:
            places = (ordered[name][row] for name in ("capture_uri", "capture_offset", "capture_bytes"))
            jobs[at].capture = Capture(kinds[row], *places)
        job_of_row.append(at)
    return jobs, job_of_row


class _Part:
    """The working state of one part's fetch."""

    def __init__(
        self,
        options: FetchOptions,
        policies: Mapping[str, OriginPolicy],
        clock: Clock,
        spool: Spool,
        guard: PictureGuard | None,
        share: OriginShare | None,
    ) -> None:
        self.options = options
        self.guard = guard
        self.share = share
        self.policies = policies
        self.clock = clock
        self.spool = spool
        self.sites: set[str] = set()
        self.pixels = PixelGate(options.decode_px)

    async def run(self, jobs: Sequence[Job]) -> None:
        """Give every job a fate, within a time that the options bound."""
        options = self.options
        groups = [f"capture:{job.capture.uri}" if job.capture else _group(job.url) for job in jobs]
        cv2.setNumThreads(1)  # the threads are ours; OpenCV's own would fight them for the same cores
        workers = Workers(options.threads, longest_s=options.decode_s)
        async with Client(options) as self.client, workers as self.workers:
            self.gate = Gatekeeper(options, self.policies, self.client, self.clock, self.share)
            try:
                async with asyncio.timeout(part_deadline_s(options, groups)):
                    await in_fair_lanes(
                        self.one, jobs, groups, lanes=options.concurrency, lanes_a_group=options.host_concurrency
                    )
            except TimeoutError:
                self._give_up(jobs)
            finally:
                self.gate.close()

    def _give_up(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            if job.fate is None:
                job.fate = Fate(final_url=job.url)
                job.fate.refuse(Trouble("timeout", "the part's deadline passed"))

    async def one(self, job: Job) -> None:
        """Find out one URL's fate."""
        fate = Fate(final_url=job.url, via="capture" if job.capture else "web")
        try:
            if job.capture is not None:
                await self._from_capture(job, job.capture, fate)
            else:
                await self._from_web(job, fate)
            job.signals += fate.signals
            if fate.reason is None:
                self.gate.settle(job.signals)
        except Trouble as trouble:  # a fresh record: a decoder that does not end may still write into the old one
            fate = Fate(
                via=fate.via, final_url=fate.final_url, http_status=fate.http_status, content_type=fate.content_type
            )
            fate.refuse(trouble)
        job.fate = fate

    async def _from_web(self, job: Job, fate: Fate) -> None:
        url = self._usable(job.url)
        if url is None:
            raise Trouble("url_invalid", f"not a usable http(s) URL: {job.url[:100]}")
        download = await self.client.download(url, self.gate)
        job.signals = download.signals
        fate.final_url, fate.http_status = download.final_url, download.http_status
        fate.content_type = download.content_type
        try:
            if download.reply is None:
                assert download.trouble is not None
                raise download.trouble
            if self.guard is not None and fate.final_url != url and self.guard.led_to(fate.final_url or ""):
                fate.final_url = url  # where it led is not kept
                raise Trouble(OPTED_OUT, "redirected to an address that is listed")
            body, encoding = download.reply.body, download.reply.encoding
            download.reply = None
            await self._in_thread(keep, body, encoding, fate, *self._bench())
        finally:
            self.client.budget.give_back(download.lease)

    def _usable(self, url: str) -> str | None:
        """Return the canonical URL; one of a known site with nothing strange in its path is taken as it is."""
        site = url[: url.find("/", 8)]
        if site in self.sites and _PLAIN_PATH.fullmatch(url, len(site)):
            return url
        canonical = canonical_url(url)
        if canonical is not None and canonical == url:
            self.sites.add(site)
        return canonical

    async def _from_capture(self, job: Job, capture: Capture, fate: Fate) -> None:
        if self.options.robots and (policy := self.policies.get(origin(job.url))) is not None:
            self.gate.judge_policy(job.url, policy, job.signals)
        await self._in_thread(self._keep_captured, job, capture, fate)

    def _keep_captured(self, job: Job, capture: Capture, fate: Fate) -> None:
        from pipeline.capture import read_capture

        limit_bytes = self.options.max_bytes
        try:
            place = (capture.kind, capture.uri, capture.offset, capture.size_bytes)
            pairs, body = read_capture(*place, url=job.url, limit_bytes=limit_bytes + 1)
        except FormatError as error:  # of this record alone; a missing file is StorageError, and everybody's
            fate.refuse(Trouble("capture_broken", str(error)))
            return
        headers = CIMultiDictProxy(CIMultiDict(pairs))
        status = int(headers.get(":status", "200"))
        if status > 999:  # HTTP has three digits
            fate.refuse(Trouble("capture_broken", f"{capture.uri} at {capture.offset}: status {status}"))
            return
        fate.http_status, fate.content_type = status, headers.get("Content-Type")
        try:
            self.gate.may_use(job.url, headers, job.signals)
            if fate.http_status >= 300:
                reason = "http_5xx" if fate.http_status >= 500 else "http_4xx"
                raise Trouble(reason, f"captured with status {fate.http_status}")
            if len(body) > limit_bytes:
                raise Trouble("too_large", f"more than {limit_bytes} bytes")
        except Trouble as trouble:
            fate.refuse(trouble)
            return
        keep(body, "", fate, *self._bench())

    def _bench(self) -> tuple[Any, ...]:
        """Return what `keep` works with."""
        return self.options, self.pixels, self.spool, self.guard, self.clock

    async def _in_thread(self, work: Callable[..., None], *args: Any) -> None:
        try:
            await self.workers.run(work, *args)
        except TimeoutError as error:
            raise Trouble("decode_failed", str(error)) from error


def _group(url: str) -> str:
    return url.partition("://")[2].partition("/")[0]


def part_deadline_s(options: FetchOptions, groups: Sequence[str]) -> float:
    """Return a time in which any part ends: list scheduling's bound (Graham 1966) with every URL at its worst."""
    if not groups:
        return 1.0
    longest = math.ceil(max(Counter(groups).values()) / options.host_concurrency)
    rounds = math.ceil(len(groups) / options.concurrency) + longest + 1
    return rounds * (options.timeout_s + 3 * options.decode_s)


def write_tar(spool: Spool, jobs: Sequence[Job], out_tar: Path, extension: str) -> dict[int, int]:
    """Write the spooled pictures in the order of the jobs; return each stored job's offset."""
    stored = [(at, job) for at, job in enumerate(jobs) if job.fate is not None and job.fate.slot is not None]
    members = ((f"{job.first_uid.hex()}.{extension}", job.fate.slot) for _, job in stored)  # type: ignore[union-attr]
    offsets = spool.write_tar(out_tar, members)  # type: ignore[arg-type]
    return {at: offset for (at, _), offset in zip(stored, offsets, strict=True)}


def collect(
    rows: pa.Table, jobs: Sequence[Job], job_of_row: Sequence[int], offsets: Mapping[int, int], began_s: float
) -> FetchResult:
    """Lay the fates out as tables."""
    fates = [job.fate for job in jobs]
    assert all(fate is not None for fate in fates)
    columns: dict[str, Any] = {
        name: [getattr(fate, name) for fate in fates]
        for name in FETCH.names
        if name not in ("uid", "tar_offset", "tar_bytes")
    }
    columns["tar_offset"] = [offsets.get(at) for at in range(len(jobs))]
    columns["tar_bytes"] = [fate.slot.size_bytes if fate is not None and fate.slot else None for fate in fates]
    of_urls = pa.table({name: pa.array(columns[name], FETCH.field(name).type) for name in FETCH.names if name != "uid"})
    table = of_urls.take(pa.array(job_of_row, pa.int64()))
    uids = rows.sort_by("uid")["uid"].combine_chunks().cast(FETCH.field("uid").type)
    table = table.add_column(0, FETCH.field("uid"), uids).cast(FETCH)
    reasons = Counter(fate.reason or "kept" for fate in fates if fate is not None)
    stats = {
        "rows": rows.num_rows,
        "urls": len(jobs),
        "original_bytes": sum(fate.original_bytes or 0 for fate in fates if fate is not None),
        "reasons": dict(sorted(reasons.items())),
        "seconds": time.monotonic() - began_s,
    }
    return FetchResult(table, signal_table(jobs), stats)


def signal_table(jobs: Sequence[Job]) -> pa.Table:
    """Return all statements met, by URL; one URL's in the order they were met, equal ones once."""
    met = [
        (job.url, signal)
        for job in sorted(jobs, key=lambda job: job.url)
        for signal in (dict.fromkeys(job.signals) if len(job.signals) > 1 else job.signals)
    ]
    columns = {"url": [url for url, _ in met]}
    columns |= {name: [getattr(signal, name) for _, signal in met] for name in SIGNAL.names[1:]}
    return pa.table(columns, schema=SIGNAL)
