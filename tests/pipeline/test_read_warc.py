import gzip
import itertools
import os
import random
import threading
import zlib
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pipeline import read_warc
from pipeline.capture import read_capture
from pipeline.errors import FormatError, InputError, StorageError
from pipeline.sightings import ReadOptions
from tests.crawl_files import HTML, PNG, PNG_BYTES, http, record, response, write_warc
from tests.reading import collect

PAGE = b'<html lang=en><img src="a.png" alt="A red boat"><img src=b.png>'


def page(number: int, noise: int = 0) -> bytes:
    rng = random.Random(number)
    return response(f"http://h.example/{number}.html", PAGE + b"<p>" + rng.randbytes(noise).hex().encode())


@pytest.mark.parametrize("name", ["crawl.warc.gz", "crawl.warc"])
def test_pages_become_sightings_and_pictures_become_captures_that_can_be_read_again(tmp_path: Path, name: str) -> None:
    records = [
        page(1),
        response("<http://h.example/a.png>", PNG_BYTES, PNG),
        page(2),
        response("http://h.example/b", PNG_BYTES, PNG),
    ]
    sightings, captures, counts = collect(read_warc.read, write_warc(tmp_path / name, records))
    assert [(r["url"], r["text"], r["reason"]) for r in sightings] == [
        ("http://h.example/a.png", "A red boat", None),
        ("http://h.example/b.png", "", "text_empty"),
    ] * 2
    assert {(r["page_url"], r["lang"], r["source"]) for r in sightings} == {
        (f"http://h.example/{i}.html", "en", str(tmp_path / name)) for i in (1, 2)
    }
    assert [c["url"] for c in captures] == ["http://h.example/a.png", "http://h.example/b"]
    for found in captures:
        headers, body = read_capture(found["kind"], found["uri"], found["offset"], found["bytes"])
        assert headers == [(":status", "200"), ("Content-Type", "image/png")]
        assert body == PNG_BYTES
    assert (counts.records, counts.pages, counts.images, counts.bad_records) == (4, 2, 4, 0)


def test_bodies_are_read_behind_their_codings(tmp_path: Path) -> None:
    chunked = b"%x;ext=1\r\n" % 20 + PAGE[:20] + b"\r\n%x\r\n" % (len(PAGE) - 20) + PAGE[20:] + b"\r\n0\r\n\r\n"
    deflate = zlib.compressobj(wbits=-15)
    bodies = [
        (chunked, [("Transfer-Encoding", "chunked")]),
        (gzip.compress(PAGE), [("Content-Encoding", "gzip")]),
        (gzip.compress(PAGE[:30]) + gzip.compress(PAGE[30:]), [("Content-Encoding", "x-gzip")]),
        (zlib.compress(PAGE), [("Content-Encoding", "deflate")]),
        (deflate.compress(PAGE) + deflate.flush(), [("Content-Encoding", "deflate")]),
        (PAGE, [("Transfer-Encoding", "chunked"), ("Content-Encoding", "gzip")]),  # decoded when it was stored
        (gzip.compress(PAGE + os.urandom(9000))[:-3000], [("Content-Encoding", "gzip")]),  # cut short
    ]
    records = [response(f"http://h.example/{i}", body, [*HTML, *more]) for i, (body, more) in enumerate(bodies)]
    sightings, _, counts = collect(read_warc.read, write_warc(tmp_path / "c.warc.gz", records))
    assert (len(sightings), counts.images, counts.pages) == (14, 14, 7)


def test_pictures_are_known_by_type_or_by_their_first_bytes(tmp_path: Path) -> None:
    told = [
        ("image/x-unheard-of", b"anything", True),
        ("text/html", PNG_BYTES, True),
        ("text/plain", PNG_BYTES, True),
        ("text/plain", b"BM is how some text begins", False),
        ("", b"BM\0\0\0\0", True),
        ("application/json", b"{}", False),
    ]
    records = [
        response(f"http://h.example/{i}", body, [("Content-Type", kind)] if kind else [])
        for i, (kind, body, _) in enumerate(told)
    ]
    _, captures, counts = collect(read_warc.read, write_warc(tmp_path / "c.warc.gz", records))
    assert [c["url"][-1] for c in captures] == [str(i) for i, (_, _, picture) in enumerate(told) if picture]
    assert counts.not_html == 2


def test_policy_files_are_captured_and_other_answers_counted(tmp_path: Path) -> None:
    records = [
        response("http://h.example/robots.txt", b"User-agent: *\nDisallow: /x", [("Content-Type", "text/plain")]),
        response("http://h.example/.well-known/tdmrep.json", b"[]", [("Content-Type", "application/json")]),
        response("http://o.example/robots.txt", b"<h1>no</h1>", status="404 Not Found"),
        response("http://h.example/moved", b"", status="301 Moved"),
        record("http://h.example/a.png", b"", kind="revisit"),
        record(
            "http://h.example/x",
            b"GET / HTTP/1.1\r\n\r\n",
            kind="request",
            content_type="application/http; msgtype=request",
        ),
        record("http://h.example/r.html", PAGE, kind="resource", content_type="text/html"),
        record("metadata://log", b"log", kind="resource", content_type="text/plain"),
    ]
    sightings, captures, counts = collect(read_warc.read, write_warc(tmp_path / "c.warc.gz", records))
    assert [c["url"] for c in captures] == ["http://h.example/robots.txt", "http://h.example/.well-known/tdmrep.json"]
    assert (counts.not_ok, counts.revisits, counts.records, len(sightings)) == (2, 1, 8, 2)


def test_from_warc_false_captures_nothing(tmp_path: Path) -> None:
    records = [page(1), response("http://h.example/a.png", PNG_BYTES, PNG)]
    _, captures, _ = collect(read_warc.read, write_warc(tmp_path / "c.warc.gz", records), ReadOptions(from_warc=False))
    assert captures == []


def test_a_page_that_says_no_gives_refused_sightings_with_its_words(tmp_path: Path) -> None:
    records = [
        response("http://h.example/1", PAGE, [*HTML, ("X-Robots-Tag", "noai")]),
        response("http://h.example/2", b'<meta name=robots content="NOIMAGEAI">' + PAGE),
        response("http://h.example/3", b'<meta name=tdm-reservation content="1">' + PAGE),
        response(
            "http://h.example/4", b'<meta name=tdm-reservation content="0">' + PAGE, [*HTML, ("tdm-reservation", "1")]
        ),
    ]
    sightings, _, counts = collect(read_warc.read, write_warc(tmp_path / "c.warc.gz", records))
    assert [(r["reason"], r["evidence"]) for r in sightings[::2]] == [
        ("opted_out", "X-Robots-Tag: noai"),
        ("opted_out", '<meta name="robots" content="NOIMAGEAI">'),
        ("opted_out", '<meta name="tdm-reservation" content="1">'),
        (None, '<meta name="tdm-reservation" content="0">'),
    ]
    assert [r["reason"] for r in sightings[1::2]] == ["opted_out"] * 3 + ["text_empty"]
    assert (counts.opted_out_pages, counts.images) == (3, 8)


@pytest.mark.parametrize("broken", ["flipped", "cut", "garbage", "no length", "long length", "header bomb"])
@pytest.mark.parametrize("name", ["c.warc.gz", "c.warc"])
def test_a_broken_record_costs_no_other(tmp_path: Path, name: str, broken: str) -> None:
    records = [page(i, noise=3000) for i in range(6)]
    if broken == "no length":
        records[2] = records[2].replace(b"Content-Length", b"X-Length", 1)
    if broken == "long length":
        records[2] = records[2].replace(b"Content-Length: ", b"Content-Length: 9", 1)
    if broken == "header bomb":
        records[2] = record("http://h.example/2.html", http(PAGE, [("X", "y" * 200_000)]))
    members = [gzip.compress(item) if name.endswith(".gz") else item for item in records]
    middle = len(members[2]) // 2
    if broken == "flipped":
        members[2] = (
            members[2][:middle]
            + bytes(255 - byte for byte in members[2][middle : middle + 50])
            + members[2][middle + 50 :]
        )
    if broken == "cut":
        members[2] = members[2][:middle]
    if broken == "garbage":
        members.insert(2, b"garbage\n" * 400)
    (tmp_path / name).write_bytes(b"".join(members))
    sightings, _, counts = collect(read_warc.read, tmp_path / name)
    whole = {r["page_url"] for r in sightings}
    assert whole >= {f"http://h.example/{i}.html" for i in (0, 1, 3, 4, 5)}
    if (name, broken) != ("c.warc", "flipped"):  # in plain text nothing tells that the noise is other noise
        assert counts.bad_records >= 1
    assert counts.truncated_inputs == 0


def test_a_file_that_ends_too_early_is_counted(tmp_path: Path) -> None:
    path = write_warc(tmp_path / "c.warc.gz", [page(i, noise=3000) for i in range(3)])
    path.write_bytes(path.read_bytes()[:-1000])
    _, _, counts = collect(read_warc.read, path)
    assert (counts.records, counts.bad_records, counts.truncated_inputs) == (3, 1, 1)


@pytest.mark.parametrize("content", [b"", b"garbage" * 1000, b"\x1f\x8b\x08" * 1000, b"\x28\xb5\x2f\xfd" * 100])
def test_a_file_of_another_kind_yields_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "c.warc.gz").write_bytes(content)
    sightings, captures, counts = collect(read_warc.read, tmp_path / "c.warc.gz")
    assert (sightings, captures) == ([], [])
    assert counts.bad_records == counts.truncated_inputs == bool(content)


def test_slices_of_a_file_hold_each_record_once(tmp_path: Path) -> None:
    path = write_warc(tmp_path / "c.warc.gz", [page(i, noise=1000) for i in range(40)])
    cuts = [0, 1, 5000, 5001, 20_000, 43_210, path.stat().st_size + 1]
    urls = [
        row["page_url"]
        for low, high in itertools.pairwise(cuts)
        for row in collect(read_warc.read, path, start=low, stop=high)[0]
    ]
    assert urls == [row["page_url"] for row in collect(read_warc.read, path)[0]]


def test_pictures_without_an_entry_point_of_their_own_are_counted_not_captured(tmp_path: Path) -> None:
    records = [page(1), *(response(f"http://h.example/{i}.png", PNG_BYTES, PNG) for i in range(3))]
    path = tmp_path / "one-member.warc.gz"
    path.write_bytes(gzip.compress(b"".join(records)))
    sightings, captures, counts = collect(read_warc.read, path)
    assert (len(sightings), captures, counts.unaddressable) == (2, [], 3)


def test_a_huge_page_is_cut_at_the_limit(tmp_path: Path) -> None:
    packed = gzip.compress(PAGE + b" " * 60_000_000 + PAGE)
    path = write_warc(
        tmp_path / "c.warc.gz", [response("http://h.example/", packed, [*HTML, ("Content-Encoding", "gzip")])]
    )
    sightings, _, counts = collect(read_warc.read, path)
    assert (len(sightings), counts.capped_pages) == (2, 1)


def test_a_remote_file_is_read_the_same_and_its_captures_too(tmp_path: Path) -> None:
    """Over HTTP from a server that knows no ranges, so that resuming is impossible but reading is not."""
    records = [page(1), response("http://h.example/a.png", PNG_BYTES, PNG), page(2)]
    write_warc(tmp_path / "c.warc.gz", records)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        sightings, captures, _ = collect(read_warc.read, f"http://127.0.0.1:{server.server_port}/c.warc.gz")
    finally:
        server.shutdown()
        server.server_close()
    assert len(sightings) == 4
    assert [c["url"] for c in captures] == ["http://h.example/a.png"]


def test_s3_is_read_the_same_and_its_captures_too(tmp_path: Path, s3_endpoint: str) -> None:
    import fsspec

    records = [page(1), response("http://h.example/a.png", PNG_BYTES, PNG), page(2)]
    path = write_warc(tmp_path / "c.warc.gz", records)
    fsspec.filesystem("s3").put_file(str(path), "sets/in/c.warc.gz")
    sightings, captures, _ = collect(read_warc.read, "s3://sets/in/c.warc.gz")
    assert len(sightings) == 4
    found = captures[0]
    assert read_capture(found["kind"], found["uri"], found["offset"], found["bytes"])[1] == PNG_BYTES


def test_a_missing_file_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be opened"):
        collect(read_warc.read, tmp_path / "no.warc.gz")


def test_a_capture_that_is_not_there_any_more_says_so(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot be read"):
        read_capture("warc", str(tmp_path / "no.warc.gz"), 0, 10)
    (tmp_path / "other.warc.gz").write_bytes(b"something else")
    with pytest.raises(FormatError, match="was the file replaced"):
        read_capture("warc", str(tmp_path / "other.warc.gz"), 0, 10)


@pytest.mark.parametrize("target", ["http://h.example/%7ea.png", "<http://H.example:80/~a.png#top>"])
def test_a_capture_is_the_asked_urls_in_whatever_spelling_and_no_others(tmp_path: Path, target: str) -> None:
    path = write_warc(tmp_path / "c.warc.gz", [response(target, PNG_BYTES, PNG)])
    place = ("warc", str(path), 0, path.stat().st_size)
    assert read_capture(*place, url="http://h.example/~a.png")[1] == PNG_BYTES
    with pytest.raises(FormatError, match=r"is of http://h\.example/~a\.png, not of http://h\.example/b\.png"):
        read_capture(*place, url="http://h.example/b.png")


def test_a_byte_range_of_a_file_is_a_capture_too(tmp_path: Path) -> None:
    (tmp_path / "00000.tar").write_bytes(b"0123456789")
    assert read_capture("file", str(tmp_path / "00000.tar"), 2, 3) == ([(":status", "200")], b"234")
