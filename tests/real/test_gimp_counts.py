"""The counts of issue 2 on a real manual: 6,785 <img>, 1,489 pairs whose picture is there, from the crawl and the folder."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from pipeline import read_html, read_warc
from pipeline.capture import read_capture
from pipeline.sightings import Counts
from tests.reading import Reader, collect

CORPORA = Path(os.environ.get("TAMIS_CORPORA", Path(__file__).parents[2] / ".corpora"))
FOLDER = CORPORA / "deb/gimp-help-en/usr/share/gimp/2.0/help"

pytestmark = pytest.mark.real


def read_all(read: Reader, uris: Iterable[Path]) -> tuple[list[dict[str, Any]], list[dict[str, Any]], Counts]:
    total, sightings, captures = Counts(), [], []
    for uri in uris:
        some_sightings, some_captures, counts = collect(read, uri)
        sightings += some_sightings
        captures += some_captures
        total.add(counts)
    return sightings, captures, total


def check(sightings: list[dict[str, Any]], captures: list[dict[str, Any]], counts: Counts) -> None:
    held = {row["url"] for row in captures}
    good = [
        row for row in sightings if row["reason"] is None and len(row["text"]) >= 5 and len(row["text"].split()) >= 3
    ]
    assert (counts.pages, counts.images, len(sightings)) == (685, 6785, 6785)
    assert sum(row["url"] in held for row in good) == 1489
    assert counts.bad_records == counts.truncated_inputs == counts.unaddressable == 0


def test_the_crawl_holds_the_pairs() -> None:
    crawl = sorted((CORPORA / "crawl").glob("gimp-en-*.warc.gz"))
    if not crawl:
        pytest.skip(f"no gimp-en crawl below {CORPORA}; `make real` makes it")
    sightings, captures, counts = read_all(read_warc.read, crawl)
    check(sightings, captures, counts)
    for found in captures[:: len(captures) // 100]:
        headers, body = read_capture(found["kind"], found["uri"], found["offset"], found["bytes"])
        assert int(dict(headers)["Content-Length"]) == len(body)


def test_the_folder_holds_the_same_pairs() -> None:
    if not FOLDER.is_dir():
        pytest.skip(f"no gimp-help-en below {CORPORA}; `make real` fetches it")
    check(*read_all(read_html.read, [FOLDER]))
