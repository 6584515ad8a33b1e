from pathlib import Path

import pytest

from pipeline import read_html
from pipeline.capture import read_capture
from pipeline.errors import ConfigError, InputError
from pipeline.sightings import ReadOptions
from tests.crawl_files import PNG_BYTES
from tests.reading import collect

SITE = ReadOptions(base_url="http://site.example/root")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "en" / "images").mkdir(parents=True)
    (tmp_path / "en" / "index.html").write_bytes(
        b'<img src="images/a+b (1).png" alt="A red boat"><img src="images/no.png" alt=x>'
    )
    (tmp_path / "en" / "50% #1?.htm").write_bytes('<meta charset=latin1><img src=é.png alt="é">'.encode("latin-1"))
    (tmp_path / "en" / "images" / "a+b (1).png").write_bytes(PNG_BYTES)
    (tmp_path / "robots.txt").write_bytes(b"User-agent: *\nDisallow: /")
    (tmp_path / "style.css").write_bytes(b"")
    return tmp_path


def test_a_folder_is_read_as_if_a_site_stood_there(folder: Path) -> None:
    sightings, captures, counts = collect(read_html.read, folder, SITE)
    assert [(r["page_url"], r["url"]) for r in sightings] == [
        ("http://site.example/root/en/50%25%20%231%3F.htm", "http://site.example/root/en/%C3%A9.png"),
        ("http://site.example/root/en/index.html", "http://site.example/root/en/images/a+b%20(1).png"),
        ("http://site.example/root/en/index.html", "http://site.example/root/en/images/no.png"),
    ]
    assert [(c["url"], c["kind"], c["content_type"]) for c in captures] == [
        ("http://site.example/root/en/images/a+b%20(1).png", "file", "image/png"),
        ("http://site.example/root/robots.txt", "file", None),
    ]
    found = captures[0]
    assert read_capture(found["kind"], found["uri"], found["offset"], found["bytes"])[1] == PNG_BYTES
    assert (counts.records, counts.pages, counts.images, counts.not_html) == (5, 2, 3, 1)


def test_slices_of_a_folder_hold_each_file_once(folder: Path) -> None:
    whole, halves = (
        collect(read_html.read, folder),
        [collect(read_html.read, folder, start=a, stop=b) for a, b in ((0, 2), (2, None))],
    )
    assert [row for half in halves for row in half[0]] == whole[0]
    assert [row for half in halves for row in half[1]] == whole[1]


def test_one_page_is_a_folder_of_one(folder: Path) -> None:
    sightings, captures, _ = collect(read_html.read, folder / "en" / "index.html", SITE)
    assert {row["page_url"] for row in sightings} == {"http://site.example/root/index.html"}
    assert captures == []


def test_a_dangling_link_is_counted(folder: Path) -> None:
    (folder / "gone.html").symlink_to(folder / "nowhere.html")
    assert collect(read_html.read, folder)[2].bad_records == 1


def test_what_cannot_be_is_explained(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="base_url"):
        collect(read_html.read, tmp_path, ReadOptions(base_url="folder"))
    with pytest.raises(InputError, match="no files"):
        collect(read_html.read, tmp_path)
