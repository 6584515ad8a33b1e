"""The client's bounds: bytes, headers, redirects, codings, politeness; over real sockets."""

import asyncio
import gzip
import http.server
import threading
import zlib
from collections.abc import Iterator

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from filters.signal import Signal
from pipeline.client import ByteBudget, Client, Download, Headers, Lease, Reply, inflate, redirect_target
from pipeline.fetch_options import FetchOptions
from pipeline.trouble import Trouble
from tests import pictures
from tests.hostile import Hostile


class OpenGate:
    """Lets everything pass."""

    async def may_ask(self, url: str, signals: list[Signal]) -> None:
        """Allow."""

    def may_use(self, url: str, headers: Headers, signals: list[Signal]) -> None:
        """Allow."""


@pytest.fixture(scope="module")
def server() -> Iterator[Hostile]:
    with Hostile() as running:
        yield running


def get(server: Hostile, *urls: str, **options: object) -> list[Download]:
    """Download URLs with one client, all at once."""
    settings = {"allow_hosts": server.allow_hosts, "hosts": server.hosts, "timeout_s": 5.0} | options

    async def all_of_them() -> list[Download]:
        async with Client(FetchOptions(**settings)) as client:  # type: ignore[arg-type]
            return list(await asyncio.gather(*(client.download(url, OpenGate()) for url in urls)))

    return asyncio.run(all_of_them())


def test_a_picture_comes_with_status_type_and_final_url(server: Hostile) -> None:
    (got,) = get(server, server.url("/moved"))
    assert got.reply is not None
    assert got.reply.body == pictures.jpeg()
    assert (got.http_status, got.content_type) == (200, "image/jpeg")
    assert (got.url, got.final_url) == (server.url("/moved"), server.url("/good.jpg"))
    assert got.lease.held_bytes == len(got.reply.body)


def test_the_user_agent_is_honest_and_no_cookie_or_proxy_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, str]] = []

    class Echo(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append({name.lower(): value for name, value in self.headers.items()})
            self.send_response(302 if self.path == "/a" else 200)
            self.send_header("Set-Cookie", "trace=me")
            self.send_header("Location", "/b")
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *_: object) -> None:
            pass

    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    threading.Thread(target=server.serve_forever, daemon=True).start()

    async def go() -> Download:
        options = FetchOptions(allow_hosts=["127.0.0.1"], contact="mailto:crawl@example.org")
        async with Client(options) as client:
            return await client.download(f"http://127.0.0.1:{server.server_address[1]}/a", OpenGate())

    got = asyncio.run(go())
    server.shutdown()
    server.server_close()
    assert got.trouble is None
    assert [sorted(headers) for headers in seen] == [["accept", "accept-encoding", "host", "user-agent"]] * 2
    assert {headers["user-agent"] for headers in seen} == {"tamis/0.1 (+mailto:crawl@example.org)"}
    assert {headers["accept-encoding"] for headers in seen} == {"identity"}


def test_retry_after_is_waited_for_and_then_the_picture_comes(server: Hostile) -> None:
    (got,) = get(server, server.url("/once.jpg", "patient.test"))
    assert got.trouble is None
    first, second = server.times("/once.jpg", "patient.test")
    assert second - first >= 1.0


def test_a_pause_longer_than_the_deadline_ends_the_try_at_once_and_closes_the_host(server: Hostile) -> None:
    url = server.url("/always.jpg", "busy.test")
    (got,) = get(server, url)
    assert got.trouble is not None
    assert (got.trouble.reason, got.http_status) == ("http_429", 429)
    assert len(server.times("/always.jpg", "busy.test")) == 1

    async def in_turn() -> list[str | None]:
        options = FetchOptions(allow_hosts=server.allow_hosts, hosts=server.hosts, timeout_s=5.0)
        async with Client(options) as client:
            results = [await client.download(url, OpenGate()) for _ in range(2)]
        return [result.trouble.reason if result.trouble else None for result in results]

    assert asyncio.run(in_turn()) == ["http_429", "circuit_open"]


def test_transient_trouble_is_tried_again_and_permanent_trouble_is_not(server: Hostile) -> None:
    for path, reason, tries in (("/500", "http_5xx", 3), ("/404", "http_4xx", 1), ("/hang-up", "connection_reset", 3)):
        before = len(server.times(path))
        (got,) = get(server, server.url(path))
        assert got.trouble is not None
        assert got.trouble.reason == reason
        assert len(server.times(path)) - before == tries


def test_a_storm_of_503_opens_the_breaker_and_spares_the_host(server: Hostile) -> None:
    urls = [server.url(f"/storm{i}", "storm.test") for i in range(60)]
    got = get(server, *urls, host_concurrency=4, breaker_failures=6)
    reasons = [one.trouble.reason for one in got if one.trouble]
    assert len(reasons) == 60
    assert set(reasons) == {"http_5xx", "circuit_open"}
    asked = sum(len(server.times(f"/storm{i}", "storm.test")) for i in range(60))
    assert asked <= 6 + 4  # those under way when it opened


def test_one_host_is_asked_only_a_few_things_at_once() -> None:
    lock, inside, most = threading.Lock(), [0], [0]
    both = threading.Barrier(2)

    class Slow(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with lock:
                inside[0] += 1
                most[0] = max(most[0], inside[0])
            both.wait(10)  # answered two by two
            with lock:
                inside[0] -= 1
            self.send_response(404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Slow)
    threading.Thread(target=server.serve_forever, daemon=True).start()

    async def go() -> None:
        options = FetchOptions(allow_hosts=["127.0.0.1"], host_concurrency=2)
        base = f"http://127.0.0.1:{server.server_address[1]}"
        async with Client(options) as client:
            await asyncio.gather(*(client.download(f"{base}/{i}", OpenGate()) for i in range(8)))

    asyncio.run(go())
    server.shutdown()
    server.server_close()
    assert most == [2]


@pytest.mark.parametrize(("limit", "reason"), [(20_000_000, None), (1000, "too_large")])
def test_bodies_are_bounded(server: Hostile, limit: int, reason: str | None) -> None:
    (got,) = get(server, server.url("/good.jpg"), max_bytes=limit)
    assert (got.trouble.reason if got.trouble else None) == reason
    if reason:
        assert got.lease.held_bytes == 0


def test_the_budget_bounds_all_bodies_together_and_nobody_waits_in_a_ring() -> None:
    async def go() -> int:
        budget, most = ByteBudget(100), 0

        async def download() -> None:
            nonlocal most
            lease = Lease()
            for _ in range(9):  # nine tens each: ten downloads together want nine times the budget
                await budget.take(lease, 10)
                most = max(most, budget._used_bytes)
                await asyncio.sleep(0)
            budget.give_back(lease)

        async with asyncio.timeout(5):
            await asyncio.gather(*(download() for _ in range(10)))
        assert budget._used_bytes == 0
        return most

    assert asyncio.run(go()) <= 190  # the budget, and the one that goes on alone


def reply(location: str | None, status: int = 302) -> Reply:
    """Make a redirect from http://a.example/x/y."""
    headers = CIMultiDict({"Location": location} if location is not None else {})
    return Reply("http://a.example/x/y", status, CIMultiDictProxy(headers), b"")


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("/z", "http://a.example/z"),
        ("z?q=1#frag", "http://a.example/x/z?q=1"),
        ("//b.example/ü", "http://b.example/%C3%BC"),
        ("https://bücher.example/", "https://xn--bcher-kva.example/"),
        (b"/caf\xe9".decode("utf-8", "surrogateescape"), "http://a.example/caf%C3%A9"),
    ],
)
def test_redirects_are_resolved_as_browsers_do(location: str, target: str) -> None:
    assert redirect_target(reply(location)) == target


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("file:///etc/passwd", "redirect_scheme"),
        ("JAVASCRIPT:alert(1)", "redirect_scheme"),
        ("http://", "url_invalid"),
        ("http://[::1", "url_invalid"),
        ("", "url_invalid"),
        (None, "url_invalid"),
    ],
)
def test_redirects_out_of_the_web_are_refused(location: str | None, reason: str) -> None:
    with pytest.raises(Trouble) as caught:
        redirect_target(reply(location))
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("coding", "pack"),
    [
        ("gzip", gzip.compress),
        ("x-gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("deflate", lambda data: zlib.compress(data)[2:-4]),
        ("", bytes),
    ],
)
def test_content_codings_are_undone_up_to_the_limit(coding: str, pack: object) -> None:
    plain = bytes(range(256)) * 40
    packed = pack(plain)  # type: ignore[operator]
    assert inflate(packed, coding, len(plain)) == plain
    if coding:
        with pytest.raises(Trouble, match="unpack to more than"):
            inflate(packed, coding, len(plain) - 1)
        with pytest.raises(Trouble, match="bad_encoding"):
            inflate(packed[:-20], coding, len(plain))
