"""A whole part: every hostile URL ends in its own reason, in bounded time and memory, and the tar is the same each time."""

import gzip
import json
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline.errors import StorageError
from pipeline.fetch import FetchOptions, FetchResult, fetch_rows, part_deadline_s
from pipeline.ids import uid
from pipeline.permission import fetch_policies
from pipeline.schema import FETCH, SIGNAL
from pipeline.trouble import REASONS, TRANSIENT
from tests import hostile, pictures
from tests.crawl_files import response
from tests.hostile import Hostile

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
ROOT = Path(__file__).parents[2]
CAPTURE: dict[str, pa.DataType] = {
    "capture_kind": pa.string(),
    "capture_uri": pa.string(),
    "capture_offset": pa.int64(),
    "capture_bytes": pa.int64(),
}


@pytest.fixture(scope="module")
def server() -> Iterator[Hostile]:
    with Hostile() as running:
        yield running


def rows_of(urls: Sequence[str], captures: Sequence[dict[str, Any]] = ()) -> pa.Table:
    """Return rows as the stage is given them, in no order."""
    columns = {"uid": pa.array([uid(url, str(at)) for at, url in enumerate(urls)], pa.binary(16)), "url": list(urls)}
    given = [*captures, *[{}] * (len(urls) - len(captures))]
    return pa.table({**columns, **{k: pa.array([one.get(k) for one in given], t) for k, t in CAPTURE.items()}})


def fetch(rows: pa.Table, server: Hostile, folder: Path, **options: Any) -> FetchResult:
    """Fetch rows into folder/part.tar."""
    settings: dict[str, Any] = {
        "allow_hosts": server.allow_hosts,
        "hosts": server.hosts,
        "timeout_s": 6.0,
        "breaker_failures": 99,
    }
    return fetch_rows(
        rows,
        options=FetchOptions(**(settings | options)),
        policies={},
        out_tar=folder / "part.tar",
        clock=lambda: NOW,
    )


def test_every_hostile_url_ends_in_its_own_reason(server: Hostile, tmp_path: Path) -> None:
    fates = server.fates()
    rows = rows_of(list(fates))
    result = fetch(rows, server, tmp_path)
    url_of = dict(zip(rows["uid"].to_pylist(), rows["url"].to_pylist(), strict=True))
    got = {url_of[row["uid"]]: row for row in result.table.to_pylist()}
    assert {url: row["reason"] for url, row in got.items()} == fates
    assert result.table.schema == FETCH
    assert result.signals.schema == SIGNAL
    for row in got.values():
        assert row["reason"] is None or row["reason"] in REASONS
        assert row["transient"] == (row["reason"] in TRANSIENT)
        assert (row["tar_offset"] is not None) == (row["reason"] is None)
        assert row["reason"] is None or row["detail"]
    assert got[server.url("/moving.gif")]["frames"] == 3
    assert got[server.url("/many")]["final_url"].startswith(server.url("/many?"))
    assert got[server.url("/404")]["http_status"] == 404


def test_the_hostile_set_ends_in_time_and_within_a_gigabyte_and_a_half(tmp_path: Path) -> None:
    program = """
import json, pathlib, resource, sys
from tests.hostile import Hostile
from tests.pipeline.test_fetch import fetch, rows_of
with Hostile() as server:
    urls = list(server.fates())
    big = [server.url(f"/{size}.png?{i}") for i in range(4) for size in (10000, 30000)]
    result = fetch(rows_of(urls + big), server, pathlib.Path(sys.argv[1]), max_px=200_000_000, decode_px=100_000_000)
peak = int(next(l for l in open("/proc/self/status") if l.startswith("VmHWM")).split()[1])  # ru_maxrss would count the parent's
print(json.dumps({"rows": result.table.num_rows, "peak_kib": peak, "urls": len(urls) + len(big)}))
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    said = json.loads(done.stdout)
    assert said["rows"] == said["urls"]
    assert said["peak_kib"] < 1_500_000


def test_rows_are_sorted_by_uid_and_rows_of_one_url_share_one_picture(server: Hostile, tmp_path: Path) -> None:
    urls = [server.url("/good.jpg")] * 5 + [server.url("/deep.png"), server.url("/404")] * 2
    before = len(server.times("/good.jpg"))
    rows = rows_of(urls)
    result = fetch(rows, server, tmp_path)
    assert result.table["uid"].to_pylist() == sorted(rows["uid"].to_pylist())
    assert len(server.times("/good.jpg")) - before == 1
    url_of = dict(zip(rows["uid"].to_pylist(), rows["url"].to_pylist(), strict=True))
    places = {(url_of[row["uid"]], row["tar_offset"]) for row in result.table.to_pylist()}
    assert len(places) == 3
    assert result.stats["reasons"] == {"http_4xx": 1, "kept": 2}
    assert (result.stats["rows"], result.stats["urls"]) == (9, 3)


def test_the_tar_is_one_that_tar_reads_and_offsets_point_at_the_pictures(server: Hostile, tmp_path: Path) -> None:
    rows = rows_of([server.url(f"/x{i}.jpg") for i in range(7)] + [server.url("/deep.png"), server.url("/404")])
    result = fetch(rows, server, tmp_path)
    data = (tmp_path / "part.tar").read_bytes()
    kept = [row for row in result.table.to_pylist() if row["reason"] is None]
    with tarfile.open(tmp_path / "part.tar") as tar:
        members = tar.getmembers()
        assert [member.name for member in members] == [f"{row['uid'].hex()}.jpg" for row in kept]
        assert {(member.mtime, member.uid, member.uname, member.mode) for member in members} == {(0, 0, "", 0o644)}
        for member, row in zip(members, kept, strict=True):
            stored = tar.extractfile(member)
            assert stored is not None
            assert stored.read() == data[row["tar_offset"] : row["tar_offset"] + row["tar_bytes"]]


def test_the_same_answers_give_the_same_bytes_whatever_the_order(server: Hostile, tmp_path: Path) -> None:
    urls = [server.url(f"/y{i}.jpg") for i in range(30)] + [server.url(p) for p in ("/moved", "/503-once.jpg", "/404")]
    seen = set()
    for number, options in enumerate(({"concurrency": 32}, {"concurrency": 1}, {"threads": 5, "host_concurrency": 3})):
        folder = tmp_path / str(number)
        folder.mkdir()
        rows = rows_of(urls).take([*range(number, len(urls)), *range(number)])
        result = fetch(rows, server, folder, **options)
        seen.add(((folder / "part.tar").read_bytes(), str(result.table.to_pylist()), str(result.signals.to_pylist())))
    assert len(seen) == 1


def test_hashes_and_sizes_are_those_of_the_original_bytes(server: Hostile, tmp_path: Path) -> None:
    import hashlib

    (row,) = fetch(rows_of([server.url("/gzip.jpg")]), server, tmp_path).table.to_pylist()
    original = pictures.jpeg()
    assert row["sha256"] == hashlib.sha256(original).digest()
    assert row["md5"] == hashlib.md5(original).digest()
    assert row["original_bytes"] == len(original)
    assert (row["original_width_px"], row["original_height_px"], row["width_px"], row["height_px"]) == (
        400,
        300,
        341,
        256,
    )
    assert (len(row["phash64"]), len(row["pdq256"]), row["format"]) == (8, 32, "jpeg")


def test_no_rows_make_an_empty_tar_and_empty_tables(server: Hostile, tmp_path: Path) -> None:
    result = fetch(rows_of([]), server, tmp_path)
    assert (result.table.num_rows, result.signals.num_rows) == (0, 0)
    with tarfile.open(tmp_path / "part.tar") as tar:
        assert tar.getmembers() == []


@pytest.fixture
def captures(tmp_path: Path) -> list[dict[str, Any]]:
    """Two responses in a file: a picture and a page."""
    good, page = pictures.jpeg(), pictures.HTML
    path = tmp_path / "captures.bin"
    path.write_bytes(b"....." + good + page)
    places = [(5, len(good)), (5 + len(good), len(page))]
    return [
        {"capture_kind": "file", "capture_uri": str(path), "capture_offset": offset, "capture_bytes": size}
        for offset, size in places
    ]


def test_what_the_crawl_holds_is_not_dialled(server: Hostile, tmp_path: Path, captures: list[dict[str, Any]]) -> None:
    urls = ["http://10.9.9.9/held.jpg", "http://10.9.9.9/page.jpg", "http://10.9.9.9/not-held.jpg"]
    rows = rows_of(urls, captures)
    reasons = {row["uid"]: (row["reason"], row["via"]) for row in fetch(rows, server, tmp_path).table.to_pylist()}
    assert [reasons[uid_] for uid_ in rows["uid"].to_pylist()] == [
        (None, "capture"),
        ("html_not_image", "capture"),
        ("private_address", "web"),
    ]
    dialled = fetch(rows, server, tmp_path, from_warc=False).table
    assert set(dialled["reason"].to_pylist()) == {"private_address"}


@pytest.mark.parametrize(
    "there",
    [
        b"",
        b"not a WARC at all, but something else that was put there",
        gzip.compress(response("http://a.example/x.jpg", b"x"))[:60],
        gzip.compress(b"a text file, compressed"),
        response("http://a.example/x.jpg", b"x", status="40000 What"),
        response("http://a.example/another.jpg", pictures.jpeg(), [("Content-Type", "image/jpeg")]),
    ],
)
def test_a_capture_that_cannot_be_read_costs_its_own_row_alone(
    server: Hostile, tmp_path: Path, captures: list[dict[str, Any]], there: bytes
) -> None:
    (tmp_path / "a.warc").write_bytes(there)
    place = {"capture_uri": str(tmp_path / "a.warc"), "capture_offset": 0, "capture_bytes": max(1, len(there))}
    rows = rows_of(
        ["http://a.example/x.jpg", "http://a.example/y.jpg"], [{"capture_kind": "warc", **place}, captures[0]]
    )
    result = fetch(rows, server, tmp_path)
    got = {row["uid"]: row for row in result.table.to_pylist()}
    broken, fine = (got[uid_] for uid_ in rows["uid"].to_pylist())
    assert (broken["reason"], broken["transient"], broken["via"]) == ("capture_broken", False, "capture")
    assert "a.warc at 0" in broken["detail"]
    assert fine["reason"] is None
    assert result.stats["reasons"] == {"capture_broken": 1, "kept": 1}


def test_a_capture_whose_file_is_missing_ends_the_run(server: Hostile, tmp_path: Path) -> None:
    place = {"capture_kind": "warc", "capture_uri": str(tmp_path / "gone"), "capture_offset": 0, "capture_bytes": 9}
    with pytest.raises(StorageError, match="gone: bytes 0 to 9 cannot be read"):
        fetch(rows_of(["http://a.example/x.jpg"], [place]), server, tmp_path)


def test_a_known_policy_holds_for_captures_too(server: Hostile, tmp_path: Path, captures: list[dict[str, Any]]) -> None:
    options = FetchOptions(allow_hosts=server.allow_hosts, hosts=server.hosts)
    origin = server.url("", "robots.test")
    policies = {policy.origin: policy for policy in fetch_policies([origin], options=options)}
    rows = rows_of([f"{origin}/private/a.jpg", f"{origin}/open/a.jpg"], [captures[0], captures[0]])
    result = fetch_rows(rows, options=options, policies=policies, out_tar=tmp_path / "part.tar")
    assert sorted(map(str, result.table["reason"].to_pylist())) == ["None", "robots_disallow"]
    assert set(result.signals["mechanism"].to_pylist()) == {"robots.txt"}


def test_robots_can_be_left_to_the_user_but_headers_cannot(server: Hostile, tmp_path: Path) -> None:
    urls = [server.url("/private/a.jpg", "robots.test"), server.url("/noai.jpg"), server.url("/tdm.jpg")]
    rows = rows_of(urls)
    table = fetch(rows, server, tmp_path, robots=False).table
    reasons = dict(zip(table["uid"].to_pylist(), table["reason"].to_pylist(), strict=True))
    assert [reasons[uid_] for uid_ in rows["uid"].to_pylist()] == [None, "noai_header", "tdm_reserved"]


def test_statements_are_kept_per_url_with_words_and_time(server: Hostile, tmp_path: Path) -> None:
    signals = fetch(rows_of([server.url("/noai-hop"), server.url("/tdm-free.jpg")]), server, tmp_path).signals
    found = {(row["url"], row["mechanism"], row["value"], row["raw"]) for row in signals.to_pylist()}
    assert (server.url("/noai-hop"), "x-robots-tag", "deny", "noimageai") in found
    assert (server.url("/tdm-free.jpg"), "tdm-header", "allow", "tdm-reservation: 0") in found
    assert {row["observed_utc"] for row in signals.to_pylist() if row["mechanism"] != "robots.txt"} == {NOW}


def test_a_decoder_that_does_not_end_costs_one_row(
    server: Hostile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.picture import keep as real

    stuck = threading.Event()

    def keep(body: bytes, *rest: Any) -> None:
        if len(body) == len(pictures.jpeg(64, 64)):
            stuck.wait(30)
        real(body, *rest)

    monkeypatch.setattr("pipeline.fetch.keep", keep)
    path = "/stuck.jpg"
    hostile.body(path, None, lambda: pictures.jpeg(64, 64))
    try:
        rows = rows_of([server.url(path), *[server.url(f"/z{i}.jpg") for i in range(20)]])
        result = fetch(rows, server, tmp_path, threads=1, decode_s=0.5)
    finally:
        stuck.set()
        del hostile.FATES[path]
    lost = [row for row in result.table.to_pylist() if row["reason"]]
    assert {row["reason"] for row in lost} == {"decode_failed"}
    assert 1 <= len(lost) <= 8  # its batch at most
    assert all("no end after 0.5 s" in row["detail"] for row in lost)


def test_a_part_has_a_deadline_that_follows_from_its_urls() -> None:
    options = FetchOptions(timeout_s=10, decode_s=0, concurrency=10, host_concurrency=2)
    assert part_deadline_s(options, []) == 1.0
    assert part_deadline_s(options, ["a"]) == 10 * (1 + 1 + 1)
    assert part_deadline_s(options, ["a"] * 100) == 10 * (10 + 50 + 1)
    assert part_deadline_s(options, [str(i) for i in range(100)]) == 10 * (10 + 1 + 1)


def test_img2datasets_downloader_obeys_the_same_permissions_and_guard(server: Hostile, tmp_path: Path) -> None:
    pytest.importorskip("img2dataset")
    same: tuple[str, ...] = (
        "/good.jpg",
        "/moved",
        "/noai.jpg",
        "/tdm.jpg",
        "/to-private",
        "/to-link-local",
        "/to-refused-folder",
        "/404",
    )
    same += ("/30000.png", "/page.jpg", "/drawing.svg", "/endless", "/to-file", "/empty.jpg")
    fates = {url: fate for url, fate in server.fates().items() if url in {server.url(path) for path in same}}
    fates |= {
        server.url("/private/a.jpg", "robots.test"): "robots_disallow",
        "http://10.1.2.3/x.jpg": "private_address",
    }
    rows = rows_of(list(fates))
    result = fetch(rows, server, tmp_path, engine="img2dataset", retries=0)
    url_of = dict(zip(rows["uid"].to_pylist(), rows["url"].to_pylist(), strict=True))
    assert {url_of[row["uid"]]: row["reason"] for row in result.table.to_pylist()} == fates
    assert len(fates) == len(same) + 2
    with tarfile.open(tmp_path / "part.tar") as tar:
        assert len(tar.getmembers()) == 2


def test_two_parts_in_two_threads_each_keep_their_own_rules_with_img2dataset(server: Hostile, tmp_path: Path) -> None:
    pytest.importorskip("img2dataset")
    reached, second_done = threading.Event(), threading.Event()
    path = "/held-back.jpg"

    def held_back() -> bytes:
        reached.set()
        second_done.wait(1.0)  # passes at once where the parts do not take turns; then the first one's rules are gone
        return pictures.jpeg()

    def part(name: str, urls: Sequence[str], **options: Any) -> None:
        (tmp_path / name).mkdir()
        rows = rows_of(urls)
        settings = {"engine": "img2dataset", "retries": 0, "concurrency": 1, **options}
        table = fetch(rows, server, tmp_path / name, **settings).table
        reasons = dict(zip(table["uid"].to_pylist(), table["reason"].to_pylist(), strict=True))
        got[name] = [reasons[uid_] for uid_ in rows["uid"].to_pylist()]

    def second() -> None:
        part("second", [server.url("/good.jpg"), server.url("/moved")], allow_hosts=[])
        second_done.set()

    got: dict[str, list[str | None]] = {}
    hostile.body(path, None, held_back)
    ruled = [server.url(f"{place}?{number}") for number in range(4) for place in ("/noai.jpg", "/tdm.jpg")]
    threads = [
        threading.Thread(target=part, args=("first", [server.url(path), *ruled])),
        threading.Thread(target=second),
    ]
    try:
        threads[0].start()
        assert reached.wait(20)
        threads[1].start()
        for thread in threads:
            thread.join(60)
    finally:
        del hostile.FATES[path]
    assert got == {
        "first": [None, *["noai_header", "tdm_reserved"] * 4],
        "second": ["private_address", "private_address"],
    }
