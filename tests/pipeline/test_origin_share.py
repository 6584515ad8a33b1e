"""Where redirects lead is asked for its robots.txt once a run, however many processes come across it."""

import asyncio
import json
import subprocess
import sys
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.fetch_options import FetchOptions
from pipeline.origin_policy import OriginPolicy
from pipeline.origin_share import OriginShare, asker, clear
from pipeline.permission import fetch_policies
from pipeline.store import Store
from tests.tiny import config, picture, tamis

FETCH = """
import sys, pathlib, pyarrow as pa
from pipeline.fetch import fetch_rows
from pipeline.fetch_options import FetchOptions
from pipeline.origin_share import asker, share
from pipeline.store import Store
url, folder, dataset = sys.argv[1], pathlib.Path(sys.argv[2]), sys.argv[3]
folder.mkdir()
rows = pa.table({"uid": pa.array([bytes(16)], pa.binary(16)), "url": [url]})
options = FetchOptions(allow_hosts=["127.0.0.1"], retries=0)
told = share(Store(dataset), asker(options), True)
result = fetch_rows(rows, options=options, policies={}, out_tar=folder / "part.tar", share=told)
print(result.table["reason"].to_pylist())
"""


class Web:
    """Two origins on loopback: what is asked of the first leads to the second, whose small files come slowly."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.robots = 200
        self.pause_s = 0.0
        self.second = self._serve(self._answer)
        self.first = self._serve(lambda path: (302, f"{self.second}{path}".encode()))

    def _serve(self, answer: object) -> str:
        web = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                known = self.path.endswith(".txt") or "well-known" in self.path
                status, body = (404, b"") if known and answer != web._answer else answer(self.path)  # type: ignore[operator]
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", body.decode())
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}"

    def _answer(self, path: str) -> tuple[int, bytes]:
        self.asked[path] += 1
        if path == "/robots.txt":
            time.sleep(self.pause_s)
            return self.robots, b"User-agent: *\nDisallow: /private/\n"
        return (200, picture(int(path[1:]))[0]) if path[1:].isdecimal() else (404, b"")


@pytest.fixture
def web() -> Web:
    return Web()


def fetching(web: Web, base: Path, number: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", FETCH, f"{web.first}/{number}", str(base / str(number)), str(base / "set")]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_two_processes_at_once_and_a_later_one_ask_an_origin_once(web: Web, tmp_path: Path) -> None:
    web.pause_s = 1.0
    both = [fetching(web, tmp_path, number) for number in (1, 2)]
    assert [process.communicate(timeout=60)[0].strip() for process in both] == ["[None]", "[None]"]
    assert fetching(web, tmp_path, 3).communicate(timeout=60)[0].strip() == "[None]"
    assert {path: web.asked[path] for path in ("/robots.txt", "/.well-known/tdmrep.json", "/1", "/2", "/3")} == {
        "/robots.txt": 1,
        "/.well-known/tdmrep.json": 1,
        "/1": 1,
        "/2": 1,
        "/3": 1,
    }
    assert not list((tmp_path / "set").rglob("*.asking"))


def ask(web: Web, share: OriginShare, wait_s: float = 5.0) -> OriginPolicy:
    async def asking() -> OriginPolicy:
        options = FetchOptions(allow_hosts=["127.0.0.1"], retries=0)
        return (await asyncio.to_thread(fetch_policies, [web.second], options=options))[0]

    return asyncio.run(share.once(web.second, asking, wait_s=wait_s))


def test_an_answer_is_good_for_a_day_and_silence_for_ten_minutes(web: Web, tmp_path: Path) -> None:
    store, name = Store(str(tmp_path)), asker(FetchOptions())
    noon_s = 20_000 * 86_400.0 + 43_200.0
    web.robots = 503

    def at(seconds: float, denials: bool = True) -> OriginPolicy:
        return ask(web, OriginShare(store, name, denials=denials, now=lambda: noon_s + seconds))

    assert at(0).unreachable == at(500).unreachable == "robots_unreachable"
    assert web.asked["/robots.txt"] == 1
    web.robots = 200
    assert at(550, denials=False).unreachable is None  # a run that tries again what passes
    assert at(580).unreachable is None
    assert web.asked["/robots.txt"] == 2
    assert at(700).unreachable is None
    assert web.asked["/robots.txt"] == 3
    assert ask(web, OriginShare(store, "another name")).unreachable is None
    assert web.asked["/robots.txt"] == 4


def test_a_worker_that_died_while_asking_holds_nobody_up_for_long(web: Web, tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    dead, living = OriginShare(store, "a"), OriginShare(store, "a")
    assert dead.claim(web.second)
    assert ask(web, living, wait_s=0.5).unreachable is None
    assert web.asked["/robots.txt"] == 1
    assert not OriginShare(store, "a").claim(web.second)
    clear(store)
    assert not list(tmp_path.rglob("*.asking"))
    assert OriginShare(store, "a").known(web.second) is not None


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_run_on_two_workers_asks_it_once_and_so_does_the_next_run(web: Web, tmp_path: Path) -> None:
    def run(numbers: range) -> dict[str, object]:
        rows = {"url": [f"{web.first}/{n}" for n in numbers], "caption": [picture(n)[1] for n in numbers]}
        pq.write_table(pa.table(rows), tmp_path / f"links{len(numbers)}.parquet")
        inputs = sorted(tmp_path.glob("links*.parquet"))
        sections: dict[str, dict[str, Any]] = {
            "fetch": {"allow_hosts": ["127.0.0.1"]},
            "cluster": {"workers": 2},
            "copies": {"enabled": False},
        }
        file = config(tmp_path / "run.toml", str(tmp_path / "set"), inputs, **sections)
        found: dict[str, object] = json.loads(tamis("ingest", file, "--quiet", "--json").stdout)
        return found

    assert run(range(40))["rows"] == 40
    assert web.asked["/robots.txt"] == 1
    assert run(range(100, 110))["rows"] == 50
    assert web.asked["/robots.txt"] == 1
    assert set(web.asked.values()) == {1}
