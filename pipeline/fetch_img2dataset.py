"""The other engine: one part through img2dataset's own downloader and resizer, under the same permissions and guard.

img2dataset asks urllib for everything, so the rules are put there: while a part runs, this process's urllib refuses
private addresses, judges robots.txt and headers on every hop, and bounds bytes and time. Known losses against our own
engine: one request after another per thread with no per-host limit, no Retry-After, and img2dataset's decoding (16-bit
pictures come out white, EXIF's orientation is ignored). md5, original_bytes, format and frames stay unknown. Parts that
one process is given at once take turns.
"""

import asyncio
import hashlib
import http.client
import socket
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from multidict import CIMultiDict, CIMultiDictProxy

from filters.signal import Signal
from filters.urls import canonical_url
from pipeline import image
from pipeline.client import site_of
from pipeline.errors import ConfigError
from pipeline.fetch_options import FetchOptions
from pipeline.img2dataset_sample import MARK, Ear, writer
from pipeline.net import Guard
from pipeline.origin_share import OriginShare
from pipeline.permission import Clock, Gatekeeper, OriginPolicy, fetch_policies
from pipeline.picture import Fate
from pipeline.refusals import LISTED, OPTED_OUT, PictureGuard
from pipeline.spool import Spool
from pipeline.trouble import Trouble

if TYPE_CHECKING:
    from pipeline.fetch import FetchResult, Job

_TURN = threading.Lock()  # urllib has one opener a process: who rules it must be alone


def fetch_rows_img2dataset(
    rows: pa.Table,
    *,
    options: FetchOptions,
    policies: Mapping[str, OriginPolicy],
    guard: PictureGuard | None,
    share: OriginShare | None,
    out_tar: Path,
    clock: Clock,
) -> "FetchResult":
    """Do what fetch_rows does with img2dataset's downloader; captures are not read, everything is dialled."""
    from pipeline.fetch import collect, plan, write_tar

    began_s = time.monotonic()
    jobs, job_of_row = plan(rows, from_warc=False)
    rules, ear = _Rules(options, policies, clock, guard, share), Ear(options, clock)
    with Spool(out_tar.parent) as spool, _ruled_urllib(rules), tempfile.TemporaryDirectory() as folder:
        asked = [at for at, job in enumerate(jobs) if _may_ask(job, rules)]
        if asked:
            _download(
                [(at, canonical_url(jobs[at].url) or "") for at in asked],
                options,
                Path(folder),
                writer(jobs, options, spool, guard, ear),
                guard,
                ear,
            )
        for at in asked:
            fate = jobs[at].fate
            if fate is None:
                fate = jobs[at].fate = Fate(final_url=jobs[at].url)
                fate.refuse(Trouble("decode_failed", "img2dataset lost this row"))
            jobs[at].signals += [*rules.signals.get(jobs[at].url, []), *fate.signals]
            rules.settle(jobs[at])
        offsets = write_tar(spool, jobs, out_tar, options.extension)
    return collect(rows, jobs, job_of_row, offsets, began_s)


def _may_ask(job: "Job", rules: "_Rules") -> bool:
    try:
        if canonical_url(job.url) is None:
            raise Trouble("url_invalid", f"not a usable http(s) URL: {job.url[:100]}")
        rules.may_ask(canonical_url(job.url) or "")
    except Trouble as trouble:
        job.fate = Fate(final_url=job.url)
        job.fate.refuse(trouble)
        job.signals += rules.signals.get(job.url, [])
        return False
    return True


def _download(
    items: Sequence[tuple[int, str]],
    options: FetchOptions,
    folder: Path,
    writer: Any,
    guard: PictureGuard | None,
    ear: Ear,
) -> None:
    try:
        from img2dataset.downloader import Downloader
        from img2dataset.resizer import Resizer
    except ImportError as error:
        raise ConfigError('fetch.engine = "img2dataset" needs the extra: pip install "tamis[img2dataset]"') from error
    listed = pa.table({"url": [url for _, url in items], "job": [at for at, _ in items]})
    with pa.OSFile(str(folder / "0.feather"), "wb") as sink, pa.ipc.new_file(sink, listed.schema) as out:
        out.write_table(listed)
    quality = 6 if options.encode_format == "png" else options.encode_quality

    class Careful(Resizer):  # type: ignore[misc]
        """img2dataset's resizer, which by itself decodes 30,000×30,000 pixels before it finds them too many.

        It is the only one to see the original bytes, so what is listed by them is refused here, before any decoding.
        """

        def __call__(self, stream: Any, *arguments: Any) -> Any:
            data = stream.getvalue()
            if guard is not None and guard.bytes_listed(*_digests(data)):
                return None, None, None, None, None, f"{MARK}{LISTED}: "
            if refusal := image.examine(data, options.max_px) if data else image.Refusal("empty_body", "no content"):
                return None, None, None, None, None, f"{MARK}{refusal.reason}: {refusal.detail}"
            if (denial := ear.hear(data)) is not None:
                return None, None, None, None, None, f"{MARK}{denial.reason}: {denial.detail}"
            return super().__call__(stream, *arguments)

    resizer = Careful(
        image_size=options.resize_px,
        resize_mode=options.resize_mode,
        resize_only_if_bigger=not options.upscale,
        encode_quality=quality,
        encode_format=options.encode_format,
        max_image_area=options.max_px,
    )
    Downloader(
        sample_writer_class=writer,
        resizer=resizer,
        thread_count=options.concurrency,
        save_caption=False,
        extract_exif=False,
        output_folder=str(folder),
        column_list=["url", "job"],
        timeout=options.timeout_s,
        number_sample_per_shard=max(10, len(items)),
        oom_shard_count=1,
        compute_hash="sha256",
        verify_hash_type=None,
        encode_format=options.encode_format,
        retries=options.retries,
        user_agent_token=options.user_agent_token,
        disallowed_header_directives=list(options.disallowed) or None,
    ).download_shard((0, str(folder / "0.feather")))


def _digests(data: bytes) -> tuple[bytes, bytes]:
    return hashlib.sha256(data).digest(), hashlib.md5(data, usedforsecurity=False).digest()


class _Marked(OSError):
    """Carry a reason through img2dataset, which keeps only an error's text."""

    def __init__(self, trouble: Trouble) -> None:
        super().__init__(f"{MARK}{trouble.reason}: {trouble.detail}")


class _Rules:
    """What every request of urllib must obey while a part runs."""

    def __init__(
        self,
        options: FetchOptions,
        policies: Mapping[str, OriginPolicy],
        clock: Clock,
        pictures: PictureGuard | None,
        share: OriginShare | None,
    ) -> None:
        self.share = share
        self.pictures = pictures
        self.options = options
        self.guard = Guard(options.allow_hosts)
        self.signals: dict[str, list[Signal]] = {}
        self._policies = dict(policies)
        self._gate = Gatekeeper(options, self._policies, None, clock)
        self._lock = threading.Lock()

    def may_ask(self, url: str) -> None:
        """Judge a URL before it is asked for."""
        if not self.options.robots:
            return
        with self._lock:
            site = site_of(url)
            if site not in self._policies:
                self._policies[site] = self._asked(site)
            self._gate.judge_policy(url, self._policies[site], self.signals.setdefault(url, []))

    def _asked(self, site: str) -> OriginPolicy:
        async def ask() -> OriginPolicy:
            return (await asyncio.to_thread(fetch_policies, [site], options=self.options))[0]

        if self.share is None:
            return fetch_policies([site], options=self.options)[0]
        return asyncio.run(self.share.once(site, ask, wait_s=self.options.timeout_s / 3))

    def may_use(self, url: str, response: http.client.HTTPResponse) -> None:
        """Judge a response by its headers."""
        headers = CIMultiDictProxy(CIMultiDict(response.headers.items()))
        with self._lock:
            self._gate.may_use(url, headers, self.signals.setdefault(url, []))

    def settle(self, job: "Job") -> None:
        """Take a picture back when what was heard of it does not suffice."""
        if job.fate is None or job.fate.reason is not None:
            return
        try:
            self._gate.settle(job.signals)
        except Trouble as trouble:
            job.fate = Fate(final_url=job.url)
            job.fate.refuse(trouble)

    def connect(self, address: tuple[str, int], timeout: Any = None, source: Any = None) -> socket.socket:
        """Dial as socket.create_connection does, but only what the guard lets pass."""
        host, port = address
        host = self.options.hosts.get(host, host)
        trouble: OSError | None = None
        for family, kind, protocol, _, place in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            if refusal := self.guard.refusal(str(place[0]), host=address[0], port=port):
                trouble = _Marked(Trouble("private_address", refusal))
                continue
            sock = socket.socket(family, kind, protocol)
            sock.settimeout(min(self.options.connect_s, self.options.timeout_s))
            try:
                sock.connect(place)
            except OSError as error:
                sock.close()
                trouble = error
                continue
            return sock
        raise trouble or OSError(f"{host} has no address")


def _transport(rules: _Rules) -> urllib.request.BaseHandler:
    """Return a handler of http and https that dials, reads and waits as the rules say."""

    class Response(http.client.HTTPResponse):
        def read(self, amt: int | None = None) -> bytes:
            if amt is not None:
                return super().read(amt)
            deadline_s = time.monotonic() + rules.options.timeout_s
            chunks, total = [], 0
            while chunk := self.read1(1 << 16):
                chunks.append(chunk)
                total += len(chunk)
                if total > rules.options.max_bytes:
                    raise _Marked(Trouble("too_large", f"more than {rules.options.max_bytes} bytes"))
                if time.monotonic() > deadline_s:
                    raise _Marked(Trouble("timeout", f"not done after {rules.options.timeout_s:g} s"))
            if self.length:
                raise http.client.IncompleteRead(b"".join(chunks), self.length)
            return b"".join(chunks)

    class Plain(http.client.HTTPConnection):
        response_class = Response

        def connect(self) -> None:
            self.sock = rules.connect((self.host, int(self.port)))

    class Secure(http.client.HTTPSConnection):
        response_class = Response

        def connect(self) -> None:
            sock = rules.connect((self.host, int(self.port)))
            self.sock = self._context.wrap_socket(sock, server_hostname=self.host)  # type: ignore[attr-defined]

    class Opener(urllib.request.HTTPSHandler):
        def http_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
            return self.do_open(Plain, request)

        def https_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
            return self.do_open(Secure, request)

        http_request = https_request = urllib.request.AbstractHTTPHandler.do_request_

    return Opener()


def _judges(rules: _Rules) -> list[urllib.request.BaseHandler]:
    """Return handlers that ask the rules about redirects and responses."""

    class Judge(urllib.request.HTTPErrorProcessor):
        handler_order = 100  # before redirects are followed

        def http_response(self, request: urllib.request.Request, response: Any) -> Any:
            url = canonical_url(request.full_url) or request.full_url
            try:
                rules.may_use(url, response)
            except Trouble as trouble:
                raise _Marked(trouble) from trouble
            return response

        https_response = http_response

    class Redirects(urllib.request.HTTPRedirectHandler):
        max_redirections = rules.options.max_redirects

        def redirect_request(self, *arguments: Any) -> urllib.request.Request | None:
            try:
                target = canonical_url(str(arguments[-1]))
                if target is None:
                    raise Trouble("redirect_scheme", f"redirected to {arguments[-1]!r}")
                if rules.pictures is not None and rules.pictures.led_to(target):
                    raise Trouble(OPTED_OUT, "redirected to an address that is listed")
                rules.may_ask(target)
            except Trouble as trouble:
                raise _Marked(trouble) from trouble
            return super().redirect_request(*arguments)

    return [Redirects(), Judge()]


@contextmanager
def _ruled_urllib(rules: _Rules) -> Iterator[None]:
    """Give urllib an opener of http and https alone, without proxies, that obeys the rules; then the usual one again.

    A second caller waits until the first one is done.
    """
    opener = urllib.request.OpenerDirector()
    for handler in (_transport(rules), *_judges(rules), urllib.request.HTTPErrorProcessor()):
        opener.add_handler(handler)
    opener.add_handler(urllib.request.HTTPDefaultErrorHandler())
    opener.add_handler(urllib.request.UnknownHandler())
    with _TURN:
        urllib.request.install_opener(opener)
        try:
            yield
        finally:
            urllib.request.install_opener(None)  # urlopen builds its usual one when there is none
