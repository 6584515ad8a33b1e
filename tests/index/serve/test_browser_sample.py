"""Someone looks at one sample and at the whole data set; what is removed disappears while they look."""

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from playwright.sync_api import Page, expect

from index.search import Searcher
from pipeline.store import Store
from pipeline.tombstones import SCHEMA, publish
from tests import tiny
from tests.browser import HOSTILE, PICTURES, THRESHOLD_COS, Serving, serious, serving, too_wide

Open = Callable[..., Page]
ALL = PICTURES + len(HOSTILE)


@pytest.fixture(scope="module")
def changing(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Store, Serving]]:
    """Give a data set that a test may remove samples from, and its server."""
    copy = shutil.copytree(shapes, tmp_path_factory.mktemp("changing") / "shapes")
    with serving(copy) as running:
        yield Store.open_url(str(copy)), running


def test_a_sample_shows_where_it_came_from_and_what_was_measured(served: Serving, open_page: Open) -> None:
    page = open_page(f"{served.address}/d/shapes/?q=a+red+circle")
    page.get_by_role("link", name=re.compile("a red circle drawn as number")).first.click()
    page.wait_for_url("**/d/shapes/s/*")
    title = page.get_by_role("heading", level=1)
    expect(title).to_contain_text("a red circle drawn as number")
    number = int(title.inner_text().rsplit(" ", 1)[1])
    address = f"http://site{number % 6}.example/p/{number}.jpg"
    link = page.get_by_role("link", name=address)
    expect(link).to_have_attribute("href", address)
    expect(link).to_have_attribute("rel", "noreferrer noopener nofollow")
    for name in (
        "Nearest pictures",
        "Rights",
        "What was said about its use",
        "Scores and decisions",
        "Copies",
        "Where it went",
    ):
        expect(page.get_by_role("heading", name=name)).to_be_visible()
    expect(page.locator("article")).to_contain_text(f"threshold {THRESHOLD_COS:.3f}")
    expect(page.locator(".badge.yes")).to_have_text("kept")
    expect(page.locator(".strip li")).to_have_count(12)
    expect(page.get_by_role("link", name="Is this mine?", exact=True).last).to_have_attribute(
        "href", re.compile(r"/d/shapes/mine\?uid=[0-9a-f]{32}&url=http")
    )
    page.get_by_role("link", name="More like this").click()
    expect(page.locator(".hit .text").first).to_have_text(tiny.picture(number)[1])


def test_a_hostile_text_is_shown_whole_and_does_nothing(served: Serving, open_page: Open) -> None:
    page = open_page(f"{served.address}/d/shapes/?q=circle&where=domain%3Dstrangers.example")
    expect(page.locator(".hit:not(.waiting)")).to_have_count(len(HOSTILE))
    links = page.locator(".hit .look").evaluate_all("all => all.map(one => one.href)")
    seen = ""
    for link in links:
        page.goto(link)
        expect(page.get_by_role("heading", name="Where it went")).to_be_visible()
        if page.get_by_text("The whole text").is_visible():
            page.get_by_text("The whole text").click()
        seen += " ".join(page.locator(".top").inner_text().split())
        assert page.locator("main script, main [onerror]").count() == 0
        for width in (1180, 360):
            page.set_viewport_size({"width": width, "height": 740})
            assert too_wide(page) == 0, link
    for text in HOSTILE:
        assert " ".join(text.split()) in seen


def test_what_is_removed_disappears_from_every_page(changing: tuple[Store, Serving], open_page: Open) -> None:
    store, running = changing
    hit = Searcher(store).by_url("http://site1.example/p/31.jpg", 1)[0]
    sample = f"{running.address}/d/shapes/s/{hit.uid}"
    page = open_page(sample, allowed=("status of 404",))
    expect(page.get_by_role("heading", name=hit.caption)).to_be_visible()
    expect(page.locator(".strip li")).to_have_count(12)
    publish(
        store,
        pa.Table.from_pylist(
            [{"uid": bytes.fromhex(hit.uid), "part": "", "request": "r", "lifted": False}], schema=SCHEMA
        ),
    )
    page.wait_for_timeout(1000)
    page.reload()
    expect(page.get_by_role("heading", name="Not here")).to_be_visible()
    page.goto(f"{running.address}/d/shapes/?where=domain%3Dsite1.example")
    expect(page.locator(".hit:not(.waiting)").first).to_be_visible()
    assert hit.caption not in page.locator(".hit .text").all_inner_texts()
    page.goto(f"{running.address}/d/shapes/about")
    expect(page.get_by_text("1 sample", exact=True)).to_be_visible()


def test_a_uid_that_is_none_is_told(served: Serving, open_page: Open) -> None:
    page = open_page(allowed=("status of 404", "status of 422"))
    for uid in ("0" * 32, "nonsense", "%3Cscript%3E"):
        page.goto(f"{served.address}/d/shapes/s/{uid}")
        expect(page.get_by_role("heading", name="Not here")).to_be_visible()


def test_the_overview_has_the_figures_of_the_report(served: Serving, open_page: Open) -> None:
    page = open_page(f"{served.address}/d/shapes/")
    page.get_by_role("link", name="About", exact=True).click()
    expect(page.locator(".lead")).to_have_text(re.compile(rf"of {ALL} pictures with their texts, {ALL} were kept"))
    expect(page.locator(".steps > li")).to_have_count(6)
    expect(
        page.get_by_role("img", name=re.compile(f"Histogram .* Threshold {THRESHOLD_COS}: 0 pairs .* {ALL} kept"))
    ).to_be_visible()
    expect(page.get_by_role("region", name="Domains, by pictures kept")).to_contain_text("site0.example")
    expect(page.locator("dl.facts").first).to_contain_text("tamis-mini")
    assert sum(page.locator(".drawing rect.kept").evaluate_all("all => all.map(one => one.height.baseVal.value)")) > 0


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.slow)])
def test_sample_and_overview_are_accessible_at_every_width(served: Serving, open_page: Open, scheme: str) -> None:
    page = open_page(f"{served.address}/d/shapes/?q=a+red+circle", color_scheme=scheme)
    page.locator(".hit .look").first.click()
    expect(page.locator(".strip li")).to_have_count(12)
    for path in (None, "about"):
        if path:
            page.goto(f"{served.address}/d/shapes/{path}")
            expect(page.locator(".steps > li")).to_have_count(6)
        for width in (1180, 360):
            page.set_viewport_size({"width": width, "height": 740})
            assert too_wide(page) == 0
            assert serious(page) == []
