"""What is listed is met, and nothing else: each kind at its edges, lists that run out, and a million entries in little memory."""

import json
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from filters.perceptual import PDQ_MIN_QUALITY
from pipeline.registry import clock, place
from pipeline.registry.imports import import_list
from pipeline.registry.registry import Registry
from pipeline.registry.suppression import Suppression
from pipeline.registry.suppression_files import FOLDER, build
from pipeline.registry.tables import entry
from pipeline.store import Store

ROOT = Path(__file__).parents[2]


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry.open(Store.open_url(str(tmp_path / "set")))


def lists(registry: Registry, *asked: tuple[str, str], **options: Any) -> Suppression:
    """Return the lists after these requests."""
    for kind, value in asked:
        registry.add(kind, value, **options)
    return Suppression.open(registry.store, build(registry))


def rows(*urls: str | None, page: str | None = None, text: str = "a text", uid: bytes = b"u" * 16) -> pa.Table:
    count = len(urls)
    columns = {"url": list(urls), "page_url": [page] * count, "text": [text] * count}
    return pa.table(
        {"uid": pa.array([uid] * count, pa.binary(16)), **{k: pa.array(v, pa.string()) for k, v in columns.items()}}
    )


URL_TABLE = [
    # kind, listed, candidate, met
    ("url", "https://a.example/x.jpg", "https://a.example/x.jpg", True),
    ("url", "http://a.example/x.jpg", "https://a.example/x.jpg", True),
    ("url", "https://www.a.example/x.jpg", "http://a.example/x.jpg", True),
    ("url", "https://a.example/x.jpg", "https://www.a.example/x.jpg", True),
    ("url", "HTTPS://A.EXAMPLE:443/x.jpg#top", "https://a.example/x.jpg", True),
    ("url", "https://a.example/x.jpg", "https://a.example/x.jpg?1", False),
    ("url", "https://a.example/x.jpg", "https://a.example/X.jpg", False),
    ("url", "https://a.example/x.jpg", "https://b.a.example/x.jpg", False),
    ("url", "https://bücher.example/ü.jpg", "https://xn--bcher-kva.example/%C3%BC.jpg", True),
    ("url_prefix", "https://a.example/me/", "https://a.example/me/x.jpg", True),
    ("url_prefix", "https://a.example/me/", "http://www.a.example/me/", True),
    ("url_prefix", "https://a.example/me/", "https://a.example/me", False),
    ("url_prefix", "https://a.example/me", "https://a.example/me.jpg", True),
    ("url_prefix", "https://a.example/me/", "https://a.example/you/x.jpg", False),
    ("url_prefix", "https://a.example", "https://a.example/any", True),
    ("url_prefix", "https://a.example", "https://a.example.evil.example/any", False),
    ("url_prefix", "https://a.example/me/", "https://b.example/a.example/me/", False),
    ("host", "a.example", "https://a.example/x.jpg", True),
    ("host", "www.a.example", "https://a.example:8080/x.jpg", True),
    ("host", "a.example", "https://b.a.example/x.jpg", False),
    ("host", "bücher.example", "https://xn--bcher-kva.example/x.jpg", True),
    ("host", "[2001:db8::1]", "http://[2001:db8::1]/x.jpg", True),
    ("domain", "a.example", "https://b.c.a.example/x.jpg", True),
    ("domain", "shop.a.example", "https://a.example/x.jpg", True),
    ("domain", "a.example", "https://ba.example/x.jpg", False),
    ("domain", "a.co.uk", "https://b.co.uk/x.jpg", False),
    ("domain", "a.co.uk", "https://img.a.co.uk/x.jpg", True),
]


@pytest.mark.parametrize(("kind", "listed", "candidate", "met"), URL_TABLE)
def test_an_address_is_met_as_a_picture_and_as_a_page(
    registry: Registry, kind: str, listed: str, candidate: str, met: bool
) -> None:
    found = lists(registry, (kind, listed))
    other = "https://other.example/1.jpg"
    assert found.names(rows(candidate, other, None)).tolist() == [met, False, False]
    assert found.names(rows(other, page=candidate)).tolist() == [met]
    assert found.names(rows(other, page=None)).tolist() == [False]


def test_the_domain_column_says_the_same_as_the_address(registry: Registry) -> None:
    found = lists(registry, ("domain", "a.example"))
    table = rows("https://x.a.example/1.jpg", "https://b.example/1.jpg")
    assert found.names(table.append_column("domain", pa.array(["a.example", "b.example"]))).tolist() == [True, False]


def test_pages_need_not_be_canonical(registry: Registry) -> None:
    found = lists(registry, ("url", "https://a.example/page"))
    table = rows("https://b.example/1.jpg", page="HTTP://www.A.example:80/x/../page#one")
    assert found.names(table).tolist() == [True]


def test_several_prefixes_of_one_host_hold_and_one_taken_back_leaves_the_others(
    registry: Registry, tmp_path: Path
) -> None:
    prefixes = [f"https://a.example/{name}" for name in ("me/", "my-pictures/", "xyz")]
    file = tmp_path / "list.ndjson"
    file.write_text("".join(json.dumps({"type": "url_prefix", "value": prefix}) + "\n" for prefix in prefixes))
    import_list(registry, file, source="list", kind="url_prefix")
    candidates = rows(*(f"{prefix}1.jpg" for prefix in prefixes), "https://a.example/other")
    assert lists(registry).names(candidates).tolist() == [True, True, True, False]
    back = tmp_path / "back.ndjson"
    back.write_text(json.dumps({"type": "url_prefix", "value": prefixes[0], "status": "withdrawn"}) + "\n")
    done = import_list(registry, back, source="list", kind="url_prefix")
    assert done.withdrawn == 1
    assert lists(registry).names(candidates).tolist() == [False, True, True, False]


@pytest.mark.parametrize(
    ("phrase", "text", "met"),
    [
        ("Jane Doe", "a portrait of jane  DOE, 2020", True),
        ("Jane Doe", "a portrait of jane doering", False),
        ("Jane Doe", "Mary-jane doe", False),
        ("jane doe", "“Jane Doe”", True),
        ("doe", "Jane Doe", True),
        ("Jane Doe", "Jane and Doe", False),
        ("ＪＡＮＥ ｄｏｅ", "jane doe", True),
        ("山田太郎", "写真は山田太郎さんのもの", True),
        ("山田太郎", "写真は山田太さんのもの", False),
        ("김철수", "사진작가 김철수의 작품", True),
    ],
)
def test_a_phrase_is_met_as_whole_words(registry: Registry, phrase: str, text: str, met: bool) -> None:
    found = lists(registry, ("text", phrase))
    assert found.names(rows("https://a.example/1.jpg", text=text)).tolist() == [met]
    assert found.phrases("text", [None, ""]).tolist() == [False, False]


def test_a_creator_is_met_in_a_copyright_line_but_not_in_alt_texts(registry: Registry) -> None:
    found = lists(registry, ("creator", "Jane Doe"))
    assert found.phrases("creator", ["© 2020 Jane Doe, all rights reserved", "John Doe", None]).tolist() == [
        True,
        False,
        False,
    ]
    assert found.names(rows("https://a.example/1.jpg", text="by Jane Doe")).tolist() == [False]


def test_uids_and_exact_hashes_are_met_whole(registry: Registry) -> None:
    uid, sha, md5 = bytes(range(16)), bytes(range(32)), bytes(range(16, 32))
    found = lists(registry, ("uid", uid.hex()), ("sha256", sha.hex()), ("md5", md5.hex()))
    assert found.names(rows("https://a.example/1.jpg", uid=uid)).tolist() == [True]
    assert found.names(rows("https://a.example/1.jpg", uid=uid[:-1] + b"\0")).tolist() == [False]
    assert found.exact("sha256", [sha, None, sha[:-1] + b"x"]).tolist() == [True, False, False]
    assert found.exact("md5", [md5, None, uid]).tolist() == [True, False, False]


@pytest.mark.parametrize(
    ("bits", "quality", "met"),
    [(0, 100, True), (31, 100, True), (32, 100, False), (31, PDQ_MIN_QUALITY, True), (31, PDQ_MIN_QUALITY - 1, False)],
)
def test_pdq_is_met_up_to_31_bits_and_from_quality_50(registry: Registry, bits: int, quality: int, met: bool) -> None:
    pdq = np.random.default_rng(1).integers(0, 256, 32, np.uint8)
    found = lists(registry, ("pdq", pdq.tobytes().hex()))
    all_bits = np.unpackbits(pdq)
    all_bits[:bits] ^= 1
    asked = np.packbits(all_bits).tobytes()
    assert found.perceptual([asked, None], [quality, None], [None, None], 31).tolist() == [met, False]


def test_a_request_has_its_own_distance_and_a_phash_is_met_exactly(registry: Registry) -> None:
    found = lists(registry, ("pdq", "00" * 32), distance=10)
    near, far = bytes(31) + b"\xff", bytes(30) + b"\xff\xff"
    assert found.perceptual([near, far], [100, 100], [None, None], 31).tolist() == [True, False]
    found = lists(registry, ("phash64", "00" * 8))
    assert found.perceptual([None, None], [None, None], [bytes(8), bytes(7) + b"\1"], 31).tolist() == [True, False]


def test_an_empty_registry_lists_nothing(registry: Registry) -> None:
    found = lists(registry)
    assert found.names(rows("https://a.example/1.jpg", None)).tolist() == [False, False]
    assert found.exact("sha256", [bytes(32)]).tolist() == [False]
    assert found.perceptual([bytes(32)], [100], [bytes(8)], 31).tolist() == [False]
    assert found.names(rows()).tolist() == []


def test_editions_follow_the_registry_and_old_ones_go(registry: Registry) -> None:
    first = build(registry)
    request = registry.add("url", "https://a.example/1.jpg")
    second = build(registry)
    assert first != second == build(registry)
    assert registry.store.folders(FOLDER) == [f"{FOLDER}/{second}"]
    registry.advance(request.id, "withdrawn")
    assert lists(registry).names(rows("https://a.example/1.jpg")).tolist() == [False]


def test_lists_of_another_registry_at_the_same_position_are_not_taken_for_ours(
    registry: Registry, tmp_path: Path
) -> None:
    registry.add("url", "https://a.example/1.jpg")
    first = build(registry)
    registry.store.delete(f"{place.FOLDER}/registry.json")  # which says whose requests the data set obeys
    other = Registry.open(registry.store, f"sqlite:///{tmp_path}/other.sqlite")
    other.add("url", "https://b.example/1.jpg")
    assert other.position() == registry.position()
    second = build(other)
    assert second != first
    found = Suppression.open(registry.store, second).names(rows("https://a.example/1.jpg", "https://b.example/1.jpg"))
    assert found.tolist() == [False, True]


def test_an_entry_that_runs_out_is_obeyed_no_longer(registry: Registry) -> None:
    now: datetime = clock.now_utc()
    registry.add("url", "https://a.example/1.jpg")
    registry.add("url", "https://a.example/2.jpg")
    candidates = rows("https://a.example/1.jpg", "https://a.example/2.jpg")
    before = build(registry)
    assert Suppression.open(registry.store, before).names(candidates).tolist() == [True, True]
    with place.writing(registry.engine) as connection:
        past = clock.text(now - timedelta(seconds=1))
        first = connection.execute(entry.select().order_by(entry.c.position)).first()
        assert first is not None
        mine = entry.c.digest == first.digest
        connection.execute(entry.update().where(mine).values(expires_utc=past))
    after = build(registry)  # nobody changed the registry's position: time did
    assert after != before
    assert Suppression.open(registry.store, after).names(candidates).tolist() == [False, True]


def test_nothing_that_is_listed_stands_in_the_files_in_clear(registry: Registry) -> None:
    sha, pdq = bytes(range(32)), bytes(range(100, 132))
    edition = (
        build(registry)
        and lists(
            registry,
            ("url", "https://a.example/secret.jpg"),
            ("sha256", sha.hex()),
            ("pdq", pdq.hex()),
            ("text", "Jane Doe"),
        ).meta["edition"]
    )
    folder = registry.store.local(f"{FOLDER}/{edition}")
    assert folder is not None
    data = b"".join(path.read_bytes() for path in folder.iterdir())
    for needle in (b"secret.jpg", b"jane doe", sha[:16], sha[8:16][::-1], sha[:8][::-1], pdq, pdq[:8]):
        assert needle not in data


def test_a_domain_that_is_a_www_is_met_whether_its_domain_is_known_or_not(registry: Registry) -> None:
    registry.add("domain", "www.gov.uk")  # gov.uk is a public suffix: each name below it is another's
    lists = Suppression.open(registry.store, build(registry))
    urls = pa.chunked_array([["https://www.gov.uk/1.jpg", "https://gov.uk/1.jpg", "https://tax.gov.uk/1.jpg"]])
    assert lists.urls(urls).tolist() == [True, False, False]
    assert lists.urls(urls, pa.chunked_array([["www.gov.uk", "gov.uk", "tax.gov.uk"]])).tolist() == [True, False, False]


BUILDING = """
import json, sys
from pathlib import Path
import pyarrow as pa
from filters import removal
from pipeline.registry import place
from pipeline.registry.registry import Registry
from pipeline.registry.suppression import Suppression
from pipeline.registry.suppression_files import build
from pipeline.registry.tables import entry
from pipeline.store import Store
def peak():
    return int(next(l for l in open("/proc/self/status") if l.startswith("VmHWM")).split()[1]) * 1024
def listed(n):
    kind, digest, length = removal.entries(registry.seed, "url", f"site{n % 999}.example/{n}.jpg")[0]
    return dict(kind=kind, digest=digest, length=length, owner="i", position=1, category="train", distance=0, active=True)
store, rows = Store.open_url(sys.argv[1]), int(sys.argv[2])
registry = Registry.open(store)
with place.writing(registry.engine) as connection:
    for start in range(0, rows, 10_000):
        connection.execute(entry.insert(), [listed(n) for n in range(start, start + 10_000)])
filled = peak()
lists = Suppression.open(store, build(registry))
asked = pa.chunked_array([[f"https://www.site{n % 999}.example/{n}.jpg" for n in range(0, 2 * rows, 20)]])
print(json.dumps({"built": peak() - filled, "hits": int(lists.urls(asked).sum()), "asked": len(asked)}))
"""


@pytest.mark.parametrize("entries", [100_000, pytest.param(1_000_000, marks=pytest.mark.slow)])
def test_many_entries_are_built_and_asked_in_bounded_memory(tmp_path: Path, entries: int) -> None:
    command = [sys.executable, "-c", BUILDING, str(tmp_path / "set"), str(entries)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280, check=True)
    said = json.loads(done.stdout)
    assert said["hits"] == said["asked"] // 2 == entries // 20
    assert said["built"] < 150_000_000
