import json
from pathlib import Path

import pytest

from pipeline import read_warc, read_wat
from pipeline.sightings import ReadOptions
from tests.crawl_files import HTML, made_pages, record, response, wat_record, write_warc
from tests.reading import collect

URL = "http://h.example/dir/page.html"
PAGE = b'<html lang=en><img src="a.png" alt="A  red boat" title="Boat"><img src="/b.png"><a href="/l" rel=license>l</a>'


def test_a_wat_says_the_same_as_the_warc_it_was_made_of(tmp_path: Path) -> None:
    pages = list(made_pages(20))
    warc = write_warc(tmp_path / "c.warc.gz", (response(*page) for page in pages))
    wat = write_warc(tmp_path / "c.wat.gz", (wat_record(*page) for page in pages))
    from_warc, _, _ = collect(read_warc.read, warc)
    from_wat, _, counts = collect(read_wat.read, wat)
    assert [row | {"source": ""} for row in from_wat] == [row | {"source": ""} for row in from_warc]
    assert (counts.pages, counts.images, counts.records) == (20, 600, 20)


def test_page_facts_and_texts_are_found(tmp_path: Path) -> None:
    path = write_warc(tmp_path / "c.wat.gz", [wat_record(URL, b"<base href=/root/>" + PAGE)])
    sightings, _, _ = collect(read_wat.read, path, ReadOptions(text_from=("title", "alt")))
    assert [(r["url"], r["text"], r["text_from"], r["reason"]) for r in sightings] == [
        ("http://h.example/root/a.png", "Boat", "title", None),
        ("http://h.example/b.png", "", "title", "text_empty"),
    ]
    assert {(r["lang"], r["license"], r["page_url"]) for r in sightings} == {("en", "http://h.example/l", URL)}


@pytest.mark.parametrize(
    ("html", "headers", "evidence"),
    [
        (PAGE, [("X-Robots-Tag", "noai")], "X-Robots-Tag: noai"),
        (PAGE, [("X-Robots-Tag", "otherbot: noindex"), ("X-Robots-Tag", "noimageai")], "X-Robots-Tag: noimageai"),
        (
            b'<meta name=robots content="noindex, nofollow">' + PAGE,
            [],
            '<meta name="robots" content="noindex, nofollow">',
        ),
        (b'<meta name="tdm-reservation" content="1">' + PAGE, [], '<meta name="tdm-reservation" content="1">'),
        (PAGE, [("TDM-Reservation", "1")], "tdm-reservation: 1"),
    ],
)
def test_a_page_that_says_no_in_header_or_head_is_refused(
    tmp_path: Path, html: bytes, headers: list[tuple[str, str]], evidence: str
) -> None:
    path = write_warc(tmp_path / "c.wat.gz", [wat_record(URL, html, [*HTML, *headers])])
    sightings, _, counts = collect(read_wat.read, path)
    assert [(r["reason"], r["evidence"]) for r in sightings] == [("opted_out", evidence)] * 2
    assert counts.opted_out_pages == 1


def metadata(said: object) -> bytes:
    block = said if isinstance(said, bytes) else json.dumps(said).encode()
    return record(URL, block, kind="metadata", content_type="application/json")


def test_records_that_are_none_of_pages_or_broken_are_counted(tmp_path: Path) -> None:
    good = wat_record(URL, PAGE)
    records = [
        metadata({"Envelope": {"Payload-Metadata": {"WARC-Info-Metadata": {}}}}),
        metadata(
            {"Envelope": {"Payload-Metadata": {"HTTP-Response-Metadata": {"Response-Message": {"Status": "404"}}}}}
        ),
        metadata({"Envelope": {"Payload-Metadata": {"HTTP-Response-Metadata": {"Headers": {"A": ["b", "c"]}}}}}),
        metadata({"Envelope": {"Payload-Metadata": {"HTTP-Response-Metadata": {"HTML-Metadata": {"Links": 3}}}}}),
        metadata(b'{"Envelope": {'),
        metadata(b"[" * 100_000),
        good,
    ]
    sightings, _, counts = collect(read_wat.read, write_warc(tmp_path / "c.wat.gz", records))
    assert (counts.records, counts.bad_records, counts.not_ok, counts.not_html, len(sightings)) == (7, 3, 1, 1, 2)


def test_bad_utf8_and_lone_surrogates_are_read_leniently(tmp_path: Path) -> None:
    page = wat_record(URL, b'<img src="a.png" alt="A red MARK boat">')
    records = [page.replace(b"MARK", b"\xff\xfeXX"), page.replace(b"MARK boat", b"\\ud800 bo")]
    sightings, _, counts = collect(read_wat.read, write_warc(tmp_path / "c.wat.gz", records))
    assert [row["text"] for row in sightings] == ["A red \ufffd\ufffdXX boat", "A red \ufffd bo"]
    assert counts.bad_records == 0
