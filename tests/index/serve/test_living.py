"""A server that lives long: new snapshots come in under load, its end is orderly, strangers' pictures are fetched with care."""

import http.server
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from index.serve.catalogue import Catalogue, named_path
from index.serve.office import one_registry_each
from index.serve.server import listen
from index.serve.settings import Settings
from pipeline.errors import InputError
from tests import tiny
from tests.index.made import make, unit
from tests.serving import DIMENSIONS, Running, direction, drawn, running, uid, vectors, wait


def load(found: Running, stop: threading.Event, statuses: Counter[int], snapshots: set[int]) -> None:
    """Ask until told to stop."""
    with httpx.Client(base_url=found.address, timeout=30) as client:
        number = 0
        while not stop.is_set():
            number = (number + 1) % 40
            body = {"terms": [{"uid": uid(number)}], "k": 20, "deduplicate": number % 2 == 0}
            answer = client.post("/api/v1/datasets/set/search", json=body)
            statuses[answer.status_code] += 1
            if answer.status_code == 200:
                snapshots.add(answer.json()["snapshot"])
            statuses[client.get(f"/api/v1/datasets/set/samples/{uid(number)}/picture").status_code] += 1


def test_new_snapshots_come_in_under_load_and_no_request_fails(tmp_path: Path) -> None:
    store = drawn(tmp_path / "set")
    with running(tmp_path / "set", refresh_s=0.05) as found:
        stop, statuses, seen = threading.Event(), Counter[int](), set[int]()
        threads = [threading.Thread(target=load, args=(found, stop, statuses, seen)) for _ in range(4)]
        for one in threads:
            one.start()
        for number in (2, 3, 4):
            make(store.root, vectors(), number=number)
            wait(lambda number=number: number in seen)  # type: ignore[misc]
        stop.set()
        for one in threads:
            one.join()
        assert set(statuses) == {200}
        assert seen == {1, 2, 3, 4}
        assert 'tamis_reloads_total{dataset="set",outcome="newer"} 3.0' in found.client.get("/metrics").text


def test_a_snapshot_that_cannot_be_opened_leaves_the_old_one_in_place(tmp_path: Path) -> None:
    store = drawn(tmp_path / "set")
    with running(tmp_path / "set", refresh_s=0.05) as found:
        make(tmp_path / "other", unit(50, DIMENSIONS, 9), number=2)
        broken = tmp_path / "other" / "index" / "000002"
        for file in broken.rglob("*.faiss"):
            file.write_bytes(b"not an index")
        for name in ("shards", "embeddings", "index", "snapshots"):
            shutil.copytree(tmp_path / "other" / name, tmp_path / "set" / name, dirs_exist_ok=True)
        wait(lambda: 'outcome="failed"' in found.client.get("/metrics").text)
        assert found.search("set", terms=[{"embedding": direction(5)}], k=1).json()["snapshot"] == 1
    assert store.exists("snapshots/000002.json")


def serve(*args: str | Path) -> tuple[subprocess.Popen[str], str]:
    """Start the command as a user does, and return it with its address."""
    command = [sys.executable, "-m", "tamis", "serve", *map(str, args), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, process.communicate()[1]
    return process, json.loads(line)["address"]


def test_a_server_that_is_told_to_end_answers_first(tmp_path: Path) -> None:
    drawn(tmp_path / "set")
    process, address = serve(tmp_path / "set")
    with httpx.Client(base_url=address, timeout=60) as client:

        def body() -> Iterator[bytes]:
            yield b'{"embedding_input": '
            os.kill(process.pid, signal.SIGTERM)
            time.sleep(0.5)
            yield json.dumps(direction(5)).encode() + b', "num_images": 3}'

        wait(lambda: client.get("/healthz").status_code == 200)
        answer = client.post("/knn-service", content=body())
        assert [answer.status_code, answer.json()[0]["uid"]] == [200, uid(5)]
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, (out, err)
    assert [json.loads(line)["status"] for line in err.splitlines() if line.startswith("{")][-1] == 200


def test_a_data_set_without_an_index_is_not_served(drawn_set: Path, tmp_path: Path) -> None:
    done = tiny.tamis("serve", drawn_set, tmp_path / "nowhere", check=False)
    assert (done.returncode, "no snapshot" in done.stderr, "Traceback" in done.stderr) == (1, True, False)


@pytest.mark.parametrize(
    ("given", "name", "path"),
    [
        ("out/gimp", "gimp", "out/gimp"),
        ("s3://sets/gimp help/", "gimp-help", "s3://sets/gimp help/"),
        ("a=out/x", "a", "out/x"),
        ("out/a=b/set", "set", "out/a=b/set"),
        ("b=s3://x/y=z", "b", "s3://x/y=z"),
    ],
)
def test_data_sets_are_named_by_their_path_or_as_told(given: str, name: str, path: str) -> None:
    assert named_path(given) == (name, path)


@pytest.mark.parametrize("given", ["bad name=x", "=x", "..=x", "/", "-a=x", "é=x", "a" * 65 + "=x"])
def test_names_that_cannot_stand_in_an_address_are_refused(given: str) -> None:
    with pytest.raises(InputError, match="NAME=PATH"):
        named_path(given)


def test_two_data_sets_of_one_name_and_an_address_that_cannot_be_had_are_told(drawn_set: Path) -> None:
    with pytest.raises(InputError, match="NAME=PATH"):
        Catalogue.open([str(drawn_set), str(drawn_set)])
    with pytest.raises(InputError, match="cannot listen"):
        listen(Settings(host="203.0.113.1"))


def test_two_data_sets_do_not_share_a_registry_of_requests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TAMIS_REGISTRY", raising=False)
    one, two = (str(tmp_path / name) for name in ("one", "two"))
    for root in (one, two):
        drawn(Path(root))
    url = f"sqlite:///{tmp_path}/office.sqlite"
    with closing(Catalogue.open([one, two])) as both, closing(Catalogue.open([one, f"again={one}"])) as twice:
        one_registry_each(both.all(), None)
        one_registry_each(twice.all(), url)
        with pytest.raises(InputError, match="one and two would have one registry of requests"):
            one_registry_each(both.all(), url)
        monkeypatch.setenv("TAMIS_REGISTRY", url)
        with pytest.raises(InputError, match="each with its own --registry"):
            one_registry_each(both.all(), None)


def test_small_answers_do_not_wait_for_an_acknowledgement() -> None:
    with listen(Settings(port=0)) as found:
        assert found.proto == socket.IPPROTO_TCP  # what asyncio looks at before it sets TCP_NODELAY


@pytest.fixture
def origin() -> Iterator[str]:
    """Somebody else's web server, with a redirect to a private address and a file too large."""

    class Site(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/away.jpg":
                self.send_response(302)
                self.send_header("Location", "http://169.254.169.254/latest/meta-data/")
                self.end_headers()
                return
            self.send_response(200 if self.path == "/large.jpg" else 404)
            self.send_header("Content-Length", "9000000")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    site = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Site)
    threading.Thread(target=site.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{site.server_port}"
    site.shutdown()
    site.server_close()


def ask(found: Running, url: str) -> httpx.Response:
    """Search by a picture's address."""
    return found.search("drawn", terms=[{"image_url": url}], k=1)


@pytest.mark.parametrize(
    "url",
    ["{origin}/a.jpg", "http://localhost:1/a.jpg", "http://[::1]/a.jpg", "http://0x7f000001/a.jpg", "http://2130706433/", "http://127.1/",
     "http://169.254.169.254/latest/meta-data/", "http://[::ffff:127.0.0.1]/a.jpg", "file:///etc/passwd", "gopher://x/", "//x/y", "a.jpg"],
)  # fmt: skip
def test_private_addresses_are_not_dialled_for_anybody(server: Running, origin: str, url: str) -> None:
    answer = ask(server, url.format(origin=origin))
    assert answer.status_code == 400
    assert "image_url" in answer.json()["error"]
    assert "root:" not in answer.text


def test_a_host_the_server_was_given_is_dialled_with_care(drawn_set: Path, origin: str) -> None:
    with running(drawn_set, allow_hosts=(origin.removeprefix("http://"),)) as found:
        assert "private_address" in ask(found, f"{origin}/away.jpg").json()["error"]
        assert "too_large" in ask(found, f"{origin}/large.jpg").json()["error"]
        assert "http_4xx" in ask(found, f"{origin}/none.jpg").json()["error"]
