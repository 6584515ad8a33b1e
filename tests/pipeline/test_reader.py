"""A tombstone is obeyed by readers that run already: a loader, a search server, in processes of their own."""

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pyarrow.parquet as pq
import pytest

from pipeline import tombstones
from pipeline.erasure import tar_erase
from pipeline.pack import shard_files
from pipeline.reader import samples
from pipeline.store import Store
from tests.small_dataset import Small
from tests.small_dataset import build as build_small

PATIENCE_S = 30.0
"""Far over what is promised (1 s, measured by tests/bench/bench_erase.py): a busy machine must not fail a test."""

LOADER = """
import json, sys
from pipeline.reader import samples
from pipeline.store import Store
reader = samples(Store.open_url({root!r}))
while True:
    keys = [sample["__key__"] for sample in reader]
    print(json.dumps(keys), flush=True)
"""

SERVER = """
import json
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qs, urlsplit
from index.search import Searcher
from pipeline.errors import InputError
from pipeline.store import Store
searcher = Searcher(Store.open_url({root!r}))
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        asked = parse_qs(urlsplit(self.path).query)
        try:
            hits = [hit.uid for hit in searcher.by_uid(asked["uid"][0], int(asked["k"][0]))]
            code, body = 200, hits
        except InputError as error:
            code, body = 404, str(error)
        self.send_response(code)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())
    def log_message(self, *args):
        pass
server = HTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
"""


@pytest.fixture
def small(tmp_path: Path) -> Small:
    return build_small(tmp_path / "set")


@contextmanager
def running(program: str, store: Store) -> Iterator[IO[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", program.format(root=store.root)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        yield process.stdout
    finally:
        process.kill()
        process.communicate()


def until(state: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not state():
        assert time.monotonic() < end
        time.sleep(0.01)


def hide(store: Store, key: str) -> None:
    tombstones.publish(store, tombstones.of_request([bytes.fromhex(key)], ["-"], "r-1"))


def test_a_running_loader_leaves_out_what_is_hidden_from_now_on(small: Small) -> None:
    with running(LOADER, small.store) as out:
        first = json.loads(out.readline())
        assert len(first) == small.snapshot.rows
        hide(small.store, first[5])
        until(lambda: json.loads(out.readline()) == [key for key in first if key != first[5]])


def test_a_running_server_shows_nothing_that_is_hidden_from_now_on(small: Small) -> None:
    from index.build import build

    build(small.store, small.snapshot)
    with running(SERVER, small.store) as out:
        port = int(out.readline())

        def ask(uid: str, k: int) -> tuple[int, object]:
            request = f"http://127.0.0.1:{port}/?uid={uid}&k={k}"
            try:
                with urllib.request.urlopen(request, timeout=PATIENCE_S) as response:
                    return response.status, json.load(response)
            except urllib.error.HTTPError as error:
                return error.code, json.load(error)

        keys = [sample["__key__"] for sample in samples(small.store)]
        _, all_of_them = ask(keys[0], 1000)
        assert isinstance(all_of_them, list)
        assert len(all_of_them) == small.snapshot.rows
        gone = all_of_them[1]
        hide(small.store, gone)
        until(lambda: ask(gone, 3)[0] == 404)
        assert ask(gone, 3) == (404, ask("00" * 16, 3)[1].replace("00" * 16, gone))  # type: ignore[attr-defined]
        for k in (1, 2, 3, 1000):  # as many as before, without the hidden one
            code, hits = ask(keys[0], k)
            assert code == 200
            assert isinstance(hits, list)
            assert len(set(hits)) == len(hits) == min(k, small.snapshot.rows - 1)
            assert set(hits) <= set(all_of_them) - {gone}


def test_what_was_masked_is_counted(small: Small) -> None:
    reader = samples(small.store, every_s=0.0)
    keys = [sample["__key__"] for sample in reader]
    assert (len(keys), reader.shown, reader.masked) == (small.snapshot.rows, small.snapshot.rows, 0)
    loop = iter(reader)
    next(loop)
    hide(small.store, keys[1])
    hide(small.store, keys[40])
    assert [sample["__key__"] for sample in loop] == [key for key in keys[2:] if key != keys[40]]
    assert reader.masked == 2


@pytest.mark.parametrize("stop", [0, 1, 7])
def test_an_erasure_under_the_eyes_of_a_loader_costs_it_no_other_sample(small: Small, stop: int) -> None:
    path = small.store.local(shard_files("000001", 0)["tar"])
    assert path is not None
    keys = [sample["__key__"] for sample in samples(small.store, 1)]
    places = pq.read_table(path.with_suffix(".parquet"), columns=["shard_offset", "shard_bytes"]).to_pydict()
    regions = list(zip(places["shard_offset"], places["shard_bytes"], strict=True))
    loop = iter(samples(small.store, 1, every_s=0.0))
    seen = [next(loop)["__key__"] for _ in range(stop + 1)]
    for key in keys[stop + 1 : stop + 4]:  # the one it reads at this moment, and the two after it
        hide(small.store, key)
    tar_erase.erase(path, tar_erase.TarPlan(tar_erase.merged(regions[stop + 1 : stop + 4])))
    seen += [sample["__key__"] for sample in loop]
    assert seen == keys[: stop + 1] + keys[stop + 4 :]
