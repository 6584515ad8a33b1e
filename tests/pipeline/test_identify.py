"""What a request means in a data set, its hiding, and the answers to "is it in here?", on a small real crawl."""

import hashlib
import json
import shutil
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import insert
from warcio.warcwriter import WARCWriter

from pipeline import tombstones
from pipeline.confirm import RECALL, confirm
from pipeline.errors import InputError
from pipeline.identify import identify, settle, take_up
from pipeline.picture_hashes import picture_hashes
from pipeline.picture_vector import picture_vector
from pipeline.registry import place
from pipeline.registry.registry import Registry
from pipeline.registry.requests import Match
from pipeline.registry.tables import recipient, release
from pipeline.store import Store
from tests.tiny import _add, config, picture, tamis, write_crawl

ROOT = Path(__file__).parents[2]
PICTURES = 24
COPIED = 5
"""The picture that stands on another site too, encoded anew, with another person's text."""
COPY_URL, COPY_TEXT = "http://mirror.example/again.jpg", "somebody else wrote this beside the copy"


def encoded(image: Image.Image, quality: int) -> bytes:
    out = BytesIO()
    image.save(out, "JPEG", quality=quality)
    return out.getvalue()


def opened(number: int) -> Image.Image:
    return Image.open(BytesIO(picture(number)[0]))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, scheduler: str) -> Path:
    """A data set of four sites, a copy of one picture elsewhere, and a page that says noai."""
    base = tmp_path_factory.mktemp("identify")
    crawl = write_crawl(base / "crawl", pictures=PICTURES, sites=4)
    extra = base / "crawl" / "extra.warc.gz"
    with extra.open("wb") as handle:
        writer = WARCWriter(handle, gzip=True)
        page = f'<html><body><p><img src="/again.jpg" alt="{COPY_TEXT}"></p></body></html>'
        _add(writer, "http://mirror.example/index.html", "text/html", page.encode())
        _add(writer, COPY_URL, "image/jpeg", encoded(opened(COPIED), 80))
        shy = '<html><head><meta name="robots" content="noai"></head><body><img src="/shy.jpg" alt="a shy one"></body></html>'
        _add(writer, "http://shy.example/index.html", "text/html", shy.encode())
    tamis("ingest", config(base / "run.toml", str(base / "set"), [*crawl, extra]), "--quiet", "--scheduler", scheduler)
    return base / "set"


@pytest.fixture
def store(made: Path, tmp_path: Path) -> Store:
    shutil.copytree(made, tmp_path / "set")
    return Store.open_url(str(tmp_path / "set"))


def found(store: Store, kind: str, value: Any, **options: Any) -> list[Match]:
    registry = Registry.open(store)
    return identify(store, registry, registry.add(kind, value, **options).id)


def hows(matches: list[Match]) -> Counter[str]:
    return Counter(match.how for match in matches)


SHA = hashlib.sha256(picture(3)[0]).hexdigest()
MD5 = hashlib.md5(picture(3)[0]).hexdigest()


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("url", "https://www.site0.example/p/4.jpg", {"url": 1}),
        ("url", "http://site0.example/index.html", {"url": 6}),
        ("url", "http://site0.example/p/999.jpg", {}),
        ("url_prefix", "http://site2.example/p/1", {"url_prefix": 3}),  # 10, 14, 18
        ("host", "site1.example", {"host": 6, "copy": 1}),
        ("domain", "site1.example", {"domain": 6, "copy": 1}),
        ("domain", "shy.example", {"refused": 1}),
        ("text", "drawn as number 6", {"text": 1}),
        ("text", "red circle", {"text": 1}),
        ("sha256", SHA, {"sha256": 1}),
        ("md5", MD5, {"md5": 1}),
        ("sha256", "00" * 32, {}),
    ],
)
def test_each_kind_finds_its_rows(store: Store, kind: str, value: str, expected: dict[str, int]) -> None:
    assert hows(found(store, kind, value, copies=True)) == expected


def test_a_request_reaches_copies_only_where_it_says_so(store: Store) -> None:
    url = f"http://site1.example/p/{COPIED}.jpg"
    assert hows(found(store, "url", url, copies=False)) == {"url": 1}
    both = found(store, "url", url, copies=True, source="list")
    assert hows(both) == {"url": 1, "copy": 1}
    secrets = [match.secret or {} for match in both]
    assert {secret["url"] for secret in secrets} == {url, COPY_URL}
    assert all(len(bytes.fromhex(secret["sha256"])) == 32 for secret in secrets)
    assert all(match.part for match in both)


def test_a_picture_is_found_as_the_file_it_was_and_as_another_encoding_mirrored_or_turned(store: Store) -> None:
    alone = {"copies": False}
    assert hows(found(store, "picture", picture_hashes(picture(7)[0], "test"), **alone)) == {"sha256": 1}
    for change in (None, Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.ROTATE_90):
        image = opened(9) if change is None else opened(9).transpose(change)
        hashes = picture_hashes(encoded(image, 60), "test")
        assert int(hashes["pdq_quality"]) >= 50
        matches = found(store, "picture", hashes, **alone)
        assert hows(matches) == {"pdq": 1}
        assert matches[0].score is not None
        assert matches[0].score <= 31
        assert (matches[0].secret or {})["url"] == "http://site1.example/p/9.jpg"


def test_a_uid_is_found_by_itself(store: Store) -> None:
    (match,) = found(store, "sha256", SHA, copies=False)
    (same,) = found(store, "uid", match.uid.hex(), copies=False)
    assert (same.uid, same.part, same.how, same.secret) == (match.uid, match.part, "uid", match.secret)


def test_what_speaks_for_itself_is_hidden_at_once_and_again_changes_nothing(store: Store) -> None:
    registry = Registry.open(store)
    request = registry.add("host", "site1.example")
    for _ in range(2):
        take_up(store, registry, request.id)
        assert registry.get(request.id).state == "tombstoned"
        seen = tombstones.read(store)
        assert (seen.position, len(seen.uids())) == (1, 6)
    nothing = registry.add("url", "http://nowhere.example/1.jpg")
    take_up(store, registry, nothing.id)
    assert registry.get(nothing.id).state == "tombstoned"
    assert tombstones.read(store).position == 1


KILLED = """
import os, signal, sys
from pipeline.identify import hide, identify
from pipeline.registry.registry import Registry
from pipeline.store import Store
store = Store.open_url(sys.argv[1])
registry = Registry.open(store)
registry.add_matches(sys.argv[2], identify(store, registry, sys.argv[2]))
registry.advance(sys.argv[2], "identified")
hide(store, registry, sys.argv[2])
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_killed_between_the_tombstone_file_and_the_database_the_next_try_ends_the_same(store: Store) -> None:
    registry = Registry.open(store)
    request = registry.add("host", "site2.example")
    done = subprocess.run([sys.executable, "-c", KILLED, store.root, request.id], cwd=ROOT, timeout=120)
    assert done.returncode == -9
    hidden = tombstones.read(store)
    assert (hidden.position, len(hidden.uids())) == (1, 6)
    assert registry.get(request.id).state == "identified"
    take_up(store, registry, request.id)
    assert registry.get(request.id).state == "tombstoned"
    assert tombstones.read(store).position == 1


@pytest.fixture
def cropped(tmp_path: Path) -> Path:
    """A picture of the data set without its margins: no hash knows it, only its look."""
    path = tmp_path / "mine.jpg"
    image = opened(11)
    path.write_bytes(encoded(image.crop((4, 4, image.width - 4, image.height - 4)), 90))
    return path


def test_eight_who_send_the_same_request_at_once_all_succeed(tmp_path: Path) -> None:
    def send(_: int) -> str:
        store = Store.open_url(str(tmp_path / "set"))
        registry = Registry.open(store)
        request = registry.add("url", "https://a.example/1.jpg", contact="jane@mail.example")
        take_up(store, registry, request.id)
        return f"{request.id} {registry.get(request.id).state}"

    with ThreadPoolExecutor(8) as pool:
        (said,) = set(pool.map(send, range(8)))
    registry = Registry.open(Store.open_url(str(tmp_path / "set")))
    (request,) = registry.requests()
    assert said == f"{request.id} tombstoned"
    assert [state for state, _, _ in request.transitions] == ["received", "identified", "tombstoned"]
    assert registry.check_log() == []


def test_look_alikes_are_only_proposed_and_a_person_settles_them(store: Store, cropped: Path, tmp_path: Path) -> None:
    out = json.loads(tamis("optout", "add", store.root, "--image", cropped, "--json").stdout)
    assert out["state"] == "proposed"
    registry = Registry.open(store)
    proposed = registry.matches(out["id"], "proposed")
    assert proposed
    assert len(tombstones.read(store).uids()) == 0
    page = tmp_path / "look.html"
    shown = json.loads(tamis("optout", "confirm-match", store.root, out["id"], "--html", page, "--json").stdout)
    assert [one["uid"] for one in shown["open"]] == [
        match.uid.hex() for match in sorted(proposed, key=lambda m: (-(m.score or 0), m.uid))
    ]
    html = page.read_text()
    assert html.count("data:image/jpeg;base64,") == len(proposed)
    assert "<script" not in html
    mine = next(one["uid"] for one in shown["open"] if one["url"] == "http://site3.example/p/11.jpg")
    with pytest.raises(InputError, match="not among its open proposals"):
        settle(store, registry, out["id"], confirm=[bytes(16)])
    done = json.loads(tamis("optout", "confirm-match", store.root, out["id"], mine, "--reject-all", "--json").stdout)
    assert (done["state"], done["open"]) == ("tombstoned", [])
    assert [bytes(uid).ljust(16, b"\0").hex() for uid in tombstones.read(store).uids()] == [mine]
    assert {match.state for match in registry.matches(out["id"])} <= {"confirmed", "rejected"}
    again = json.loads(tamis("optout", "confirm-match", store.root, out["id"], mine, "--json").stdout)
    assert again["state"] == "tombstoned"


def test_an_answer_names_rows_sources_files_and_recipients_but_not_the_texts_of_others(store: Store) -> None:
    registry = Registry.open(store)
    with place.writing(registry.engine) as connection:
        connection.execute(insert(recipient).values(id="lab", name="A lab", contact="x", registered_utc="2026-01-01"))
        connection.execute(
            insert(release).values(
                id="one",
                snapshot=1,
                recipient_id="lab",
                released_utc="2026-01-02",
                manifest_sha256="0",
                purpose="trying",
            )
        )
    url = f"http://site1.example/p/{COPIED}.jpg"
    printed = tamis("optout", "confirm", store.root, "--url", url, "--json").stdout
    answer = json.loads(printed)
    assert (answer["found"], answer["counts"]["rows"], answer["counts"]["copies"]) == ("yes", 1, 1)
    (row,) = answer["rows"]
    assert (row["url"], row["page_url"]) == (url, "http://site1.example/index.html")
    assert row["source"].endswith(".warc.gz")
    assert "/" not in row["source"]
    fates = [row["fates"]["000001"], answer["copies"][0]["fates"]["000001"]]
    assert Counter(fates) == {None: 1, "duplicate_of": 1}
    derived = answer["derived"]
    assert derived["snapshots"] == ["000001"]
    assert len(derived["shards"]) == 1
    assert len(derived["embeddings"]) == 2
    assert derived["index"] == ["index/000001"]
    assert (answer["recipients"], answer["checkpoints"]) == (["A lab"], [])
    assert COPY_TEXT not in printed
    assert COPY_URL not in printed
    assert answer["scope"]["rows"] == PICTURES + 1
    words = tamis("optout", "confirm", store.root, "--url", url).stdout
    assert "found       yes" in words
    assert COPY_TEXT not in words
    told = [json.loads(entry)["type"] for entry in _log(registry)]
    assert told.count("confirm_answer") == 2
    assert url not in "".join(_log(registry))


def _log(registry: Registry) -> list[str]:
    from sqlalchemy import select

    from pipeline.registry.tables import leaf

    with place.reading(registry.engine) as connection:
        rows = connection.execute(select(leaf.c.type, leaf.c.entry).order_by(leaf.c.number)).all()
    return [json.dumps({"type": type_, "entry": text}) for type_, text in rows]


def test_no_and_unknown_say_what_was_searched(store: Store, cropped: Path) -> None:
    no = confirm(store, "url", "http://site0.example/p/999.jpg")
    assert (no["found"], no["rows"], no["scope"]["recall"]) == ("no", [], 1.0)
    assert not store.exists("private/registry.sqlite")  # asking makes no registry
    asked = picture_hashes(cropped.read_bytes(), "test")
    without_vector = confirm(store, "picture", asked)
    assert without_vector["found"] == "no"
    assert without_vector["scope"]["recall"] == RECALL
    assert without_vector["scope"]["pictures"] == PICTURES + 1
    unsure = confirm(store, "picture", asked | picture_vector(store, cropped))
    assert unsure["found"] == "unknown"
    assert unsure["look_alikes"]
    assert all(set(one) == {"uid", "cos"} for one in unsure["look_alikes"])
    sure = confirm(store, "picture", picture_hashes(encoded(opened(11), 50), "test"))
    assert (sure["found"], sure["rows"][0]["how"]) == ("yes", "pdq")
    gone = next(name for name in store.names("candidates") if name.endswith(".json"))
    store.delete(gone)
    assert confirm(store, "url", "http://site0.example/p/999.jpg")["found"] == "unknown"


def test_the_recall_that_a_no_names_is_what_is_measured() -> None:
    from filters.perceptual import PDQ_MAX_DISTANCE, hamming, pdq256
    from tests.planted import TRANSFORMS, openmoji, openmoji_names

    rng = np.random.default_rng(5)
    found: Counter[str] = Counter()
    count = 40
    for name in rng.choice(openmoji_names(), count, replace=False):
        drawing = openmoji(str(name), side_px=512)
        code, _ = pdq256(drawing)
        for how in ("jpeg_q30", "resized_half", "small_jpeg", "watermark", "bar_over", "resized_64", "cropped_centre"):
            other, quality = pdq256(TRANSFORMS[how](drawing, rng))
            found[how] += hamming(code, other) <= PDQ_MAX_DISTANCE and quality >= 50
    said: dict[str, float] = RECALL["picture"]  # type: ignore[assignment]
    assert (ROOT / str(RECALL["measured_on"]).rpartition(" ")[2]).samefile(__file__)
    assert found["jpeg_q30"] == count
    assert found["resized_half"] >= 0.9 * count
    assert found["cropped_centre"] <= 0.1 * count
    for how, words in (("bar_over", "a bar over it"), ("resized_64", "64 px"), ("watermark", "watermark")):
        assert found[how] / count == pytest.approx(said[words], abs=0.2)
