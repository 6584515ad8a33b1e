"""An artist and an officer, each in a browser: from "is this mine?" to "it is gone", and pages that everybody can use."""

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests import tiny
from tests.browser import EMOJI, SCRIPT, Serving, serious, serving, too_wide

Open = Callable[..., Page]
TOKEN = "a token of the office, long enough"
CONTACT = "painter@studio.example"
MINE, OTHER = 7, 12


@pytest.fixture(scope="module")
def folder(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data set `shapes`, which the tests here may change."""
    copy = tmp_path_factory.mktemp("mine") / "shapes"
    return Path(shutil.copytree(shapes, copy))


@pytest.fixture(scope="module")
def desk_served(folder: Path) -> Iterator[Serving]:
    """A server of it with a desk."""
    with serving(folder, env={"TAMIS_DESK_TOKEN": TOKEN}) as running:
        yield running


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Files of pictures that were crawled."""
    base = tmp_path_factory.mktemp("pictures")
    found = {}
    for number in (MINE, OTHER):
        found[number] = base / f"mine-{number}.jpg"
        found[number].write_bytes(tiny.picture(number)[0])
    return found


def _look(page: Page, file: Path) -> None:
    page.get_by_label("Choose a picture").set_input_files(file)
    expect(page.locator("#preview")).to_be_visible()
    page.get_by_role("button", name="Look for it").click()
    expect(page.locator("#verdict")).to_be_focused(timeout=90_000)  # the first picture waits for the model


def _sign_in(page: Page) -> None:
    page.get_by_label("Token").fill(TOKEN)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(re.compile("to work on|Nothing to do"))


def test_from_is_this_mine_to_it_is_gone(
    desk_served: Serving, open_page: Open, pictures: dict[int, Path], tmp_path: Path
) -> None:
    artist = open_page(f"{desk_served.address}/d/shapes/", accept_downloads=True)
    artist.get_by_role("link", name="Is this mine?").click()
    _look(artist, pictures[MINE])
    expect(artist.locator("#verdict")).to_have_text(re.compile("^Yes"))
    found = artist.locator(".found li", has_text="the same file")
    expect(found).to_have_count(1)
    uid = found.get_attribute("data-uid")
    expect(found.locator("img")).to_have_js_property("complete", True)
    assert found.locator("img").evaluate("one => one.naturalWidth") > 0

    artist.get_by_label(re.compile("How we reach you")).fill(CONTACT)
    artist.get_by_label(re.compile("Anything else")).fill(f"{SCRIPT} {EMOJI}")
    artist.get_by_label(re.compile("Let the officer see")).check()
    artist.get_by_role("button", name="File the request").click()
    expect(artist.get_by_role("heading", name="Your request is taken in")).to_be_focused()
    with artist.expect_download() as download:
        artist.get_by_role("link", name="Download the receipt").click()
    receipt = tmp_path / "receipt.json"
    download.value.save_as(receipt)
    assert (
        "what was asked is that picture"
        in tiny.tamis("optout", "check-receipt", receipt, "--image", pictures[MINE]).stdout
    )
    artist.get_by_role("link", name="Follow the request").click()
    expect(artist.get_by_role("heading", level=1)).to_have_text("Your request is waiting for the desk")

    officer = open_page(f"{desk_served.address}/desk", allowed=("401",))
    officer.get_by_label("Token").fill("a guess that is long enough")
    officer.get_by_role("button", name="Sign in").click()
    expect(officer.get_by_role("alert")).to_contain_text("That is not the desk's token.")
    _sign_in(officer)
    officer.get_by_role("link", name=re.compile("Open request")).first.click()
    expect(officer.locator(".theirs img")).to_have_js_property("complete", True)
    assert officer.locator(".theirs img").evaluate("one => one.naturalWidth") > 0
    expect(officer.locator(f'.meant li[data-uid="{uid}"] img')).to_be_visible()
    expect(officer.get_by_text(CONTACT)).to_be_visible()
    expect(officer.locator(".wrote")).to_have_text(f"{SCRIPT} {EMOJI}")  # text, not markup
    officer.get_by_role("button", name=re.compile("^Accept: hide")).click()
    expect(officer.get_by_role("heading", level=1)).to_contain_text(re.compile("hidden|to compare"))
    if officer.locator(".compare").count():
        officer.get_by_role("button", name="None is").click()
        officer.get_by_role("button", name="Save the decisions").click()
    expect(officer.get_by_role("heading", level=1)).to_contain_text("hidden")

    artist.goto(f"{desk_served.address}/d/shapes/mine")
    _look(artist, pictures[MINE])
    assert uid not in {one.get_attribute("data-uid") for one in artist.locator(".found li").all()}

    officer.get_by_role("link", name="← Queue").click()
    officer.get_by_role("button", name="Erase what is hidden").click()
    expect(officer.locator("#job")).to_contain_text(re.compile(r"Erased \d+ samples? in"), timeout=60_000)
    officer.get_by_role("button", name="Verify what is erased").click()
    expect(officer.locator("#job")).to_contain_text("nothing of it is left. 1 request closed", timeout=60_000)
    officer.get_by_role("button", name="Sign out").click()
    expect(officer.get_by_label("Token")).to_be_visible()

    artist.go_back()
    expect(artist.get_by_role("heading", level=1)).to_have_text("Your request is closed")
    with artist.expect_download() as download:
        artist.get_by_role("link", name="Download the report of the erasure").click()
    assert download.value.failure() is None


def test_a_name_a_site_and_nothing_are_asked_by_keyboard(desk_served: Serving, open_page: Open) -> None:
    page = open_page(f"{desk_served.address}/d/shapes/mine", allowed=("400",))
    page.get_by_role("radio", name="A picture").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Tab")
    page.keyboard.type("strangers.example")
    page.keyboard.press("Enter")
    expect(page.locator("#verdict")).to_have_text(re.compile(r"^Yes: \d+ pictures of it are in here"))
    expect(page.locator(".found .text").filter(has_text="<script>").first).to_be_visible()
    page.get_by_label("Your site").fill("elsewhere.example")
    page.keyboard.press("Enter")
    expect(page.locator("#verdict")).to_have_text("No: it was not found in this data set")
    expect(page.get_by_role("heading", name="Say no for the future, too")).to_be_visible()
    page.get_by_label("Your site").fill("someone@mail.example")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert").first).to_contain_text("is no domain")


def test_a_link_from_a_sample_asks_at_once_and_a_wrong_link_leads_nowhere(
    desk_served: Serving, open_page: Open
) -> None:
    page = open_page(f"{desk_served.address}/d/shapes/mine?url=https%3A%2F%2Fnowhere.example%2F1.jpg", allowed=("404",))
    expect(page.locator("#verdict")).to_have_text(re.compile("^No"))
    page.goto(f"{desk_served.address}/d/shapes/mine/{'A' * 27}")
    expect(page.get_by_role("heading", level=1)).to_have_text("This link leads to no request")
    page.goto(f"{desk_served.address}/d/unknown/mine")
    expect(page.get_by_role("heading", level=1)).to_have_text("There is nothing at this address")


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.slow)])
def test_everybody_can_use_the_pages_on_a_phone_too(
    desk_served: Serving, open_page: Open, pictures: dict[int, Path], scheme: str
) -> None:
    page = open_page(
        f"{desk_served.address}/d/shapes/mine", viewport={"width": 360, "height": 740}, color_scheme=scheme
    )
    seen: list[str] = []

    def check(where: str) -> None:
        page.wait_for_timeout(50)
        seen.extend(f"{where}: {finding}" for finding in serious(page))
        if too_wide(page):
            seen.append(f"{where}: {too_wide(page)} px too wide")

    check("mine")
    _look(page, pictures[OTHER])
    check("result")
    page.get_by_role("button", name="File the request").click()
    expect(page.locator("#filed")).to_be_visible()
    check("filed")
    page.get_by_role("link", name="Follow the request").click()
    expect(page.locator("#state")).to_be_visible()
    check("follow")
    page.goto(f"{desk_served.address}/desk")
    expect(page.get_by_label("Token")).to_be_visible()
    check("sign in")
    _sign_in(page)
    check("queue")
    page.get_by_role("link", name=re.compile("Open request")).first.click()
    expect(page.locator(".asked")).to_be_visible()
    check("request")
    page.reload()
    expect(page.locator(".asked")).to_be_visible()  # the session outlives a reload
    assert seen == []
