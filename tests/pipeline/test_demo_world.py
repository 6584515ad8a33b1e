"""The demo's little web: it is what it says, it is served over real sockets, and the verdict on it is just."""

import contextlib
import io
import socket
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from http.client import HTTPConnection, IncompleteRead
from pathlib import Path

import numpy as np
import pytest
from fastwarc.warc import ArchiveIterator as FastIterator
from fastwarc.warc import WarcRecordType
from PIL import Image
from warcio.archiveiterator import ArchiveIterator

from filters.text import is_filename, is_uninformative
from pipeline import config, inputs
from pipeline.demo import oddities
from pipeline.demo.builder import LEAVING_SITE, SITES
from pipeline.demo.crawl import crawl
from pipeline.demo.origin import ENDLESS_BYTES, NOT_FOUND, Origin, Reply
from pipeline.demo.pictures import NEAR_COPIES, Picture, drawings, pictures
from pipeline.demo.world import World, build, config_toml, open_origin
from pipeline.sightings import Counts

SMALL = 160


@dataclass(frozen=True)
class Crawled:
    """A small world, its crawl, and what the crawler asked for."""

    origin: Origin
    world: World
    folder: Path
    warcs: list[Path]
    requests: dict[str, int]


@pytest.fixture(scope="module")
def crawled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crawled]:
    folder = tmp_path_factory.mktemp("demo")
    with open_origin() as origin:
        world = build(origin, pictures=SMALL)
        origin.publish(world.replies)
        warcs = crawl(world.crawl_urls, folder / "crawl")
        yield Crawled(origin, world, folder, warcs, dict(origin.take_requests()))


def get(url: str) -> tuple[int, bytes]:
    host, _, path = url.removeprefix("http://").partition("/")
    connection = HTTPConnection(host, timeout=10)
    try:
        connection.request("GET", f"/{path}")
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


# the world


def test_every_pair_of_url_and_text_has_one_fate(crawled: Crawled) -> None:
    pairs = [(fate.url, fate.text) for fate in crawled.world.fates]
    assert len(set(pairs)) == len(pairs)


def test_every_kind_that_the_demo_promises_is_there(crawled: Crawled) -> None:
    promised = (
        "matched wrong_text copy_exact copy_reencoded copy_resized copy_cropped copy_barred icon noai_header "
        "noai_page robots robots_unreachable tdm_file tdm_header tdm_page http_4xx http_503 http_429_then_fine "
        "slow_drip endless bomb gzip_bomb html_as_picture truncated svg empty lying_type redirect_fine "
        "redirect_loop redirect_private redirect_file scheme dns exif_rotated cmyk sixteen_bit animated_gif "
        "two_texts merged_pair text_filename boilerplate text_short only_in_crawl non_ascii_url tls reset "
        "cut_short header_bomb leaves_by_site leaves_by_url leaves_by_url_copy leaves_by_picture "
        "content_signal training_crawler_shut_out ai_txt trust_txt content_usage_robots rsl content_usage_header"
    )
    assert set(promised.split()) <= {fate.kind for fate in crawled.world.fates}


def test_the_same_seed_and_addresses_give_the_same_world(crawled: Crawled) -> None:
    again = build(crawled.origin, pictures=SMALL)
    assert again == crawled.world


def test_ordinary_sites_share_the_pictures_about_evenly(crawled: Crawled) -> None:
    matched = [fate.url for fate in crawled.world.fates if fate.kind in ("matched", "wrong_text")]
    shares = [sum(url.startswith(crawled.origin.bases[site] + "/") for url in matched) for site in SITES]
    assert sum(shares) == len(matched)
    assert max(shares) <= 0.2 * len(matched)  # a fourteenth on average


def test_texts_of_matched_pictures_describe_them_and_pass_the_text_filter(crawled: Crawled) -> None:
    texts = [fate.text for fate in crawled.world.fates if fate.kind == "matched"]
    assert min(map(len, texts)) >= 3
    assert not [text for text in texts if is_filename(text) or is_uninformative(text)]


def test_wrong_texts_are_true_of_another_picture(crawled: Crawled) -> None:
    wrong = [fate for fate in crawled.world.fates if fate.kind == "wrong_text"]
    assert len(wrong) > 20
    assert len({fate.text for fate in wrong}) == len(wrong)
    assert all(crawled.world.replies[fate.url].body != b"" for fate in wrong)


def test_copies_name_an_original_and_exact_ones_have_its_bytes(crawled: Crawled) -> None:
    replies = crawled.world.replies
    for fate in crawled.world.fates:
        if fate.kind.startswith("copy_"):
            assert fate.copy_of in replies
            assert (replies[fate.url].body == replies[fate.copy_of].body) == (fate.kind == "copy_exact")


def test_the_configuration_is_one_that_tamis_reads(crawled: Crawled) -> None:
    parsed = config.parse(tomllib.loads(config_toml(crawled.folder, crawled.origin)))
    assert parsed.fetch.allow_hosts == crawled.origin.hosts
    vault = crawled.origin.vault.removeprefix("http://").rsplit(":", 1)[0].strip("[]")
    assert vault not in parsed.fetch.allow_hosts
    assert len(inputs.expand(parsed)) == 2


# the pictures


def test_drawings_have_names_and_no_skin_tones_or_other_series() -> None:
    names = [drawing.name for drawing in drawings()]
    assert len(names) > 1_300
    assert {"red apple", "face with tears of joy", "owl", "flag of Brazil"} <= set(names)
    assert not [name for name in names if "skin tone" in name or "keycap" in name or "o’clock" in name]


def test_pictures_depend_on_the_seed_alone_and_come_in_many_sizes_and_formats() -> None:
    once, again = (pictures(np.random.default_rng(7), 40) for _ in range(2))
    assert once == again
    assert {picture.suffix for picture in once} == {"jpg", "png", "webp"}
    assert len({picture.width_px for picture in once}) > 20
    for picture in once:
        with Image.open(io.BytesIO(picture.data)) as image:
            assert image.size == (picture.width_px, picture.height_px)


def drawing() -> Picture:
    return pictures(np.random.default_rng(3), 1)[0]


def test_near_copies_are_resized_cropped_and_barred_as_they_say() -> None:
    picture = drawing()
    sizes = {}
    for name, copy in NEAR_COPIES.items():
        with Image.open(io.BytesIO(copy(picture.pixels(), np.random.default_rng(0)))) as image:
            sizes[name] = (image.width / picture.width_px, image.height / picture.height_px)
    assert sizes["reencoded"] == (1, 1)
    assert sizes["resized"] == pytest.approx((0.6, 0.6), abs=0.01)
    assert sizes["cropped"] == pytest.approx((0.9, 0.9), abs=0.01)
    assert sizes["barred"] == pytest.approx((1, 1.12), abs=0.01)


def test_odd_pictures_are_odd_in_the_way_they_say() -> None:
    pixels = drawing().pixels()
    seen = {}
    for kind, (encoded, media) in oddities.FINE.items():
        with Image.open(io.BytesIO(encoded(pixels))) as image:
            assert image.get_format_mimetype() == media
            seen[kind] = (image.mode, image.getexif().get(0x0112), getattr(image, "n_frames", 1))
    assert seen["exif_rotated"] == ("RGB", 6, 1)
    assert seen["cmyk"][0] == "CMYK"
    assert seen["grey"][0] == "L"
    assert seen["transparent"][0] == "RGBA"
    assert seen["animated_gif"][2] == 3
    assert oddities.deep(pixels)[24] == 16  # IHDR's bit depth


def test_a_bomb_is_small_and_claims_to_be_huge() -> None:
    bomb = oddities.bomb(30_000)
    assert len(bomb) < 1_000_000
    assert int.from_bytes(bomb[16:20], "big") == 30_000


@pytest.mark.slow
def test_the_whole_world_has_about_a_thousand_pictures_none_of_them_twins() -> None:
    everything = pictures(np.random.default_rng(1))
    assert 1_000 < len(everything) < 1_300
    assert len({picture.data for picture in everything}) == len(everything)


# the origin


def test_unknown_urls_are_not_found_and_every_request_is_counted() -> None:
    with Origin(["one", "two"]) as origin:
        origin.publish({f"{origin.bases['one']}/a": Reply(200, (), b"hello")})
        assert [get(f"{origin.bases['one']}/a") for _ in range(3)] == [(200, b"hello")] * 3
        assert get(f"{origin.bases['two']}/a") == (404, NOT_FOUND.body)
        assert origin.take_requests() == {f"{origin.bases['one']}/a": 3, f"{origin.bases['two']}/a": 1}
        assert not origin.take_requests()


def test_a_reply_can_change_after_the_first_request() -> None:
    with Origin(["one"]) as origin:
        url = f"{origin.bases['one']}/busy"
        origin.publish({url: Reply(429, (("Retry-After", "1"),), then=Reply(200, (), b"fine"))})
        assert [get(url)[0] for _ in range(3)] == [429, 200, 200]


def test_a_cut_body_is_shorter_than_it_said_and_a_reset_is_one() -> None:
    with Origin(["one"]) as origin:
        base = origin.bases["one"]
        origin.publish(
            {f"{base}/cut": Reply(200, (), b"x" * 100, "cut"), f"{base}/reset": Reply(200, (), b"x" * 100, "reset")}
        )
        with pytest.raises(IncompleteRead) as cut:
            get(f"{base}/cut")
        assert len(cut.value.partial) == 50
        with pytest.raises((ConnectionResetError, IncompleteRead)):
            get(f"{base}/reset")


def test_an_endless_body_has_no_length_and_ends_all_the_same() -> None:
    with Origin(["one"]) as origin:
        url = f"{origin.bases['one']}/endless"
        origin.publish({url: Reply(200, (), b"start", "endless")})
        status, body = get(url)
        assert (status, len(body)) == (200, ENDLESS_BYTES)


def test_a_slow_drip_sends_its_first_byte_and_leaving_does_not_wait_for_the_last() -> None:
    with Origin(["one"]) as origin:
        host, port = origin.bases["one"].removeprefix("http://").split(":")
        origin.publish({f"{origin.bases['one']}/drip": Reply(200, (), b"slow" * 100, "drip")})
        client = socket.create_connection((host, int(port)), 10)
        client.sendall(b"GET /drip HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = b""
        while not answer.endswith(b"\r\n\r\ns"):
            answer += client.recv(1)
        assert b"Content-Length: 400" in answer
    client.close()


def test_a_client_that_speaks_tls_is_hung_up_on() -> None:
    with Origin(["one"]) as origin:
        host, port = origin.bases["one"].removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), 10) as client:
            client.sendall(b"\x16\x03\x01\x02\x00\x01")
            with contextlib.suppress(ConnectionResetError):  # as bytes that the origin left unread make the close one
                assert client.recv(10) == b""


# the crawl


def test_the_crawl_is_read_by_warcio_and_holds_every_page_as_it_was_served(crawled: Crawled) -> None:
    bodies: dict[str, bytes] = {}
    assert len(crawled.warcs) >= 2
    for path in crawled.warcs:
        with path.open("rb") as file:
            kinds = []
            for record in ArchiveIterator(file, check_digests="raise"):
                kinds.append(record.rec_type)
                if record.rec_type == "response":
                    bodies[record.rec_headers["WARC-Target-URI"]] = record.content_stream().read()
        assert kinds[0] == "warcinfo"
        assert set(kinds[1:]) == {"response"}
    assert {url: bodies[url] for url in crawled.world.pages} == {
        url: crawled.world.replies[url].body for url in crawled.world.pages
    }
    assert set(crawled.world.captured) < set(bodies)


def test_equal_answers_at_the_same_date_give_equal_files(tmp_path: Path) -> None:
    with Origin(["one"]) as origin:
        url = f"{origin.bases['one']}/page.html"
        origin.publish({url: Reply(200, (("Content-Type", "text/html"),), b"<p>hello")})
        date = datetime(2026, 11, 21, tzinfo=UTC)
        files = [crawl([url], tmp_path / name, files=1, date=date)[0] for name in ("once", "again")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_a_reader_can_start_at_every_record_of_the_crawl(crawled: Crawled) -> None:
    for path in crawled.warcs:
        with path.open("rb") as file:
            offsets = [record.stream_pos for record in FastIterator(file, record_types=WarcRecordType.response)]
        data = path.read_bytes()
        assert offsets
        assert all(data[offset : offset + 2] == b"\x1f\x8b" for offset in offsets)


def test_the_crawler_asks_once_for_each_page_and_robots_txt_and_for_no_picture_but_those_the_crawl_holds(
    crawled: Crawled,
) -> None:
    robots = {f"{crawled.origin.bases[site]}/robots.txt" for site in (*SITES, LEAVING_SITE)}
    asked = set(crawled.requests)
    assert set(crawled.requests.values()) == {1}
    assert asked - robots == set(crawled.world.crawl_urls)


def test_pictures_that_only_the_crawl_holds_are_gone_from_the_web(crawled: Crawled) -> None:
    kinds = {fate.url: fate.kind for fate in crawled.world.fates}
    statuses = {(kinds[url], get(url)[0]) for url in crawled.world.captured}
    assert statuses == {("only_in_crawl", 404), ("in_crawl", 200), ("noai_in_crawl", 200)}


def test_our_own_reader_finds_every_fate_in_the_crawl(crawled: Crawled) -> None:
    run = config.parse(tomllib.loads(config_toml(crawled.folder, crawled.origin)))
    counts = Counts()
    found: dict[tuple[str | None, str], str | None] = {}
    for unit in inputs.expand(run):
        for kind, batch in inputs.read_unit(unit, inputs.read_options(run), counts):
            if kind == "sightings":
                rows = batch.to_pylist()
                found.update({(row["url"], row["text"]): row["reason"] for row in rows})
    wanted = {(fate.url, fate.text): fate for fate in crawled.world.fates if fate.kind != "scheme"}
    assert set(wanted) <= set(found)
    early = {"opted_out", "text_empty"}
    assert {key: found[key] for key in wanted if found[key]} == {
        key: next(iter(fate.expected & early)) for key, fate in wanted.items() if fate.expected & early
    }
    assert counts.images == sum(len(fate.pages) for fate in crawled.world.fates)
