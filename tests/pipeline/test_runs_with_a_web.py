"""Runs that download: each host is asked once, each URL fetched once, and only passing failures are tried again."""

import json
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.tiny import config, picture, tamis


class Site:
    """A real server on loopback: counts requests, answers 503 for chosen paths while `broken`."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.broken: set[str] = set()
        self.robots = b"User-agent: *\nDisallow: /private/\n"
        site = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                site.asked[self.path] += 1
                status, kind, body = site.answer(self.path)
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, path: str) -> tuple[int, str, bytes]:
        if path == "/robots.txt":
            return 200, "text/plain", self.robots
        if path in self.broken:
            return 503, "text/plain", b"later"
        if path.startswith(("/p/", "/private/")):
            return 200, "image/jpeg", picture(int(path.rsplit("/", 1)[1].removesuffix(".jpg")))[0]
        return 404, "text/plain", b"no"


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.server.shutdown()


def _list(path: Path, rows: list[tuple[str, str]]) -> Path:
    pq.write_table(pa.table({"url": [r[0] for r in rows], "caption": [r[1] for r in rows]}), path)
    return path


def _run(scheduler: str, tmp_path: Path, rows: list[tuple[str, str]], *more: str) -> dict[str, object]:
    links = tmp_path / "links.parquet"
    if not links.exists():
        _list(links, rows)
    fetch = {"allow_hosts": ["127.0.0.1"], "retries": 0, "timeout_s": 5.0}
    file = config(tmp_path / "web.toml", str(tmp_path / "set"), [links], fetch=fetch, copies={"enabled": False})
    out: dict[str, object] = json.loads(
        tamis("ingest", file, "--quiet", "--json", "--scheduler", scheduler, *more).stdout
    )
    return out


def test_hosts_are_asked_once_and_urls_fetched_once_and_refused_ones_never(
    site: Site, tmp_path: Path, scheduler: str
) -> None:
    rows = [(f"{site.url}/p/{n}.jpg", picture(n)[1]) for n in range(25)]
    rows += [
        (f"{site.url}/p/3.jpg", "the same picture with another text"),
        (f"{site.url}/p/3.jpg", "and with a third text"),
    ]
    rows += [(f"{site.url}/p/4.jpg", picture(4)[1])] * 3
    rows += [(f"{site.url}/private/90.jpg", picture(90)[1]), (f"{site.url}/missing.jpg", "a picture that is not there")]
    out = _run(scheduler, tmp_path, rows)
    assert out["rows_in"] == 32
    assert out["rows"] == 27
    assert out["dropped"] == {"duplicate_pair": 3, "http_4xx": 1, "robots_disallow": 1}
    assert site.asked["/robots.txt"] == 1
    assert site.asked["/.well-known/tdmrep.json"] == 1
    assert {path: n for path, n in site.asked.items() if path.startswith("/p/")} == {
        f"/p/{n}.jpg": 1 for n in range(25)
    }
    assert "/private/90.jpg" not in site.asked


def test_the_decision_is_kept_with_its_evidence_and_time(site: Site, tmp_path: Path, scheduler: str) -> None:
    _run(scheduler, tmp_path, [(f"{site.url}/private/90.jpg", picture(90)[1]), (f"{site.url}/p/1.jpg", picture(1)[1])])
    signals = pa.concat_tables(
        [pq.read_table(p) for p in (tmp_path / "set/fetch").rglob("*.signals.parquet")]
    ).to_pylist()
    denied = [s for s in signals if s["url"].endswith("/private/90.jpg") and s["value"] == "deny"]
    assert [(s["mechanism"], s["category"]) for s in denied] == [("robots.txt", "crawl")]
    assert "Disallow: /private/" in denied[0]["raw"]
    assert denied[0]["observed_utc"].year >= 2026


def test_retry_transient_fetches_what_failed_for_a_passing_reason_and_nothing_else(
    site: Site, tmp_path: Path, scheduler: str
) -> None:
    rows = [(f"{site.url}/p/{n}.jpg", picture(n)[1]) for n in range(12)] + [
        (f"{site.url}/missing.jpg", "a picture that is not there")
    ]
    site.broken = {f"/p/{n}.jpg" for n in (2, 5, 7)}
    out = _run(scheduler, tmp_path, rows)
    assert out["rows"] == 9
    assert out["dropped"] == {"http_4xx": 1, "http_5xx": 3}
    site.broken = {"/p/7.jpg"}
    site.asked.clear()
    assert _run(scheduler, tmp_path, rows)["rows"] == 9
    assert dict(site.asked) == {}
    out = _run(scheduler, tmp_path, rows, "--retry", "transient")
    assert out["rows"] == 11
    assert out["dropped"] == {"http_4xx": 1, "http_5xx": 1}
    assert {p: n for p, n in site.asked.items() if p.startswith("/p/")} == {"/p/2.jpg": 1, "/p/5.jpg": 1, "/p/7.jpg": 1}
    assert json.loads(tamis("verify", tmp_path / "set", "--json").stdout)["problems"] == []


def test_a_looser_text_limit_fetches_only_the_newly_admitted(site: Site, tmp_path: Path, scheduler: str) -> None:
    links = _list(
        tmp_path / "links.parquet", [(f"{site.url}/p/1.jpg", "one two three four"), (f"{site.url}/p/2.jpg", "only two")]
    )
    fetch = {"allow_hosts": ["127.0.0.1"]}
    for words, expected in ((3, {"/p/1.jpg"}), (2, {"/p/2.jpg"})):
        site.asked.clear()
        file = config(
            tmp_path / "w.toml",
            str(tmp_path / "set"),
            [links],
            fetch=fetch,
            text={"min_words": words},
            copies={"enabled": False},
        )
        out = json.loads(tamis("ingest", file, "--quiet", "--json", "--scheduler", scheduler).stdout)
        assert {p for p in site.asked if p.startswith("/p/")} == expected
    assert out["rows"] == 2
