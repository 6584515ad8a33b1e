import gzip
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fsspec
import pytest

from pipeline import common_crawl, read_wat
from pipeline.errors import FormatError, InputError
from tests.crawl_files import wat_record, write_warc
from tests.reading import collect

CRAWL = "CC-MAIN-2026-43"
FILES = [f"crawl-data/{CRAWL}/segments/{i}/wat/{i}.warc.wat.gz" for i in range(5)]


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    listing = tmp_path / "crawl-data" / CRAWL / "wat.paths.gz"
    listing.parent.mkdir(parents=True)
    listing.write_bytes(gzip.compress("\n".join([*FILES, ""]).encode()))
    (tmp_path / FILES[3]).parent.mkdir(parents=True)
    write_warc(tmp_path / FILES[3], [wat_record("http://h.example/", b'<img src=a.png alt="A red boat">')])
    return tmp_path


@pytest.fixture
def site(mirror: Path) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(mirror)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_all_or_some_files_of_a_crawl_are_listed_over_http_and_can_be_read(site: str) -> None:
    assert common_crawl.paths(CRAWL, base_url=site) == [f"{site}/{name}" for name in FILES]
    chosen = common_crawl.paths(CRAWL, base_url=site + "/", segments=[3, 0, 3])
    assert chosen == [f"{site}/{FILES[3]}", f"{site}/{FILES[0]}"]
    sightings, _, _ = collect(read_wat.read, chosen[0])
    assert [row["url"] for row in sightings] == ["http://h.example/a.png"]


def test_the_listing_may_lie_on_s3(mirror: Path, s3_endpoint: str) -> None:
    fsspec.filesystem("s3").put(str(mirror / "crawl-data"), "sets/crawl-data", recursive=True)
    chosen = common_crawl.paths(CRAWL, base_url="s3://sets", segments=[3])
    assert chosen == [f"s3://sets/{FILES[3]}"]
    assert len(collect(read_wat.read, chosen[0])[0]) == 1


def test_what_is_not_there_is_explained(mirror: Path, site: str) -> None:
    with pytest.raises(InputError, match="look like CC-MAIN"):
        common_crawl.paths("../etc", base_url=site)
    with pytest.raises(InputError, match="cannot be read"):
        common_crawl.paths("CC-MAIN-2020-01", base_url=site)
    with pytest.raises(InputError, match="lists 5 files; there is no position 5"):
        common_crawl.paths(CRAWL, base_url=site, segments=[5])
    (mirror / "crawl-data" / CRAWL / "warc.paths.gz").write_bytes(b"<html>")
    with pytest.raises(FormatError, match="not a gzip listing"):
        common_crawl.paths(CRAWL, base_url=str(mirror), kind="warc")
