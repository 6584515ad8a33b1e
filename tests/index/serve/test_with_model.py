"""What needs the model: texts, pictures by value and by address, captions."""

import base64
import http.server
import io
import struct
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from tests.pictures import flat_png
from tests.serving import Running, running, uid
from tests.small_dataset import draw, jpeg


@pytest.fixture(scope="module")
def origin() -> Iterator[str]:
    """Somebody else's web server with drawing 7."""

    class Site(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(jpeg(7))

        def log_message(self, *_: object) -> None:
            pass

    site = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Site)
    threading.Thread(target=site.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{site.server_port}/7.jpg"
    site.shutdown()
    site.server_close()


@pytest.fixture(scope="module")
def seeing(seen_set: Path, origin: str) -> Iterator[Running]:
    """A server with its model loaded, that may fetch from the origin."""
    host = origin.removeprefix("http://").partition("/")[0]
    with running(seen_set, warm=True, allow_hosts=(host,), work_s=200.0, model_s=250.0) as found:
        yield found


def search(found: Running, term: dict[str, Any], k: int = 3) -> httpx.Response:
    """Ask with one term."""
    return found.search("seen", terms=[term], k=k)


def test_a_picture_finds_itself_by_value_by_address_and_as_clip_client_sends_it(seeing: Running, origin: str) -> None:
    data = base64.b64encode(jpeg(7)).decode()
    for term in ({"image": data}, {"image": f"data:image/jpeg;base64,{data}"}, {"image_url": origin}):
        first = search(seeing, term).json()["hits"][0]
        assert (first["uid"], first["cos"] > 0.999) == (uid(7), True), list(term)
    for asked in ({"image": data}, {"image_url": origin, "text": ""}):
        found = seeing.client.post("/knn-service", json={**asked, "num_images": 2}).json()
        assert (found[0]["uid"], len(found)) == (uid(7), 2)


def test_a_text_finds_pictures_and_texts_add_up(seeing: Running) -> None:
    hits = search(seeing, {"text": draw(3)[1]}, 5).json()["hits"]
    assert len(hits) == 5
    told = seeing.client.post("/knn-service", json={"text": draw(3)[1], "num_images": 5, "modality": "image"}).json()
    assert [one["uid"] for one in told] == [hit["uid"] for hit in hits]
    more = seeing.search(
        "seen", terms=[{"uid": uid(7)}, {"text": "a star", "weight": 0.5}, {"text": "blue", "weight": -0.5}]
    )
    assert more.status_code == 200


def png(width: int, height: int) -> bytes:
    """Return a PNG that claims a size and holds hardly anything."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def other(kind: str) -> bytes:
    """Return a picture in a format that is not read."""
    out = io.BytesIO()
    Image.new("RGB", (30, 30)).save(out, kind)
    return out.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        png(60_000, 60_000), flat_png(49_000_000, 1), png(0, 5), jpeg(1)[:300],
        b"", b"GIF89a", b"<html>", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        other("PPM"), other("PCX"), other("ICO"), jpeg(1)[:200] + b"\xff\xda" * 200 + jpeg(1)[200:],
    ],
)  # fmt: skip
def test_what_is_no_picture_or_a_bomb_is_refused_before_the_model(seeing: Running, data: bytes) -> None:
    answer = search(seeing, {"image": base64.b64encode(data).decode()})
    assert answer.status_code == 400, answer.text
    assert "picture" in answer.json()["error"]


def test_a_strip_costs_no_more_memory_than_a_picture_and_is_answered(seeing: Running) -> None:
    """Enlarged as a whole for the model, a line of 65,500 pixels would take 29 GB; only its middle is looked at."""
    data = base64.b64encode(flat_png(1, 65_500)).decode()
    assert search(seeing, {"image": data}).status_code == 200
    name = seeing.client.get("/api/v1/datasets").json()[0]["name"]
    assert seeing.client.post(f"/api/v1/datasets/{name}/mine", json={"image": data}).json()["found"] == "no"
