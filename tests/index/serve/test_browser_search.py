"""Someone searches in a browser: by words, pictures, sums of both, with filters, by keyboard, on a phone."""

import base64
import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, Route, expect

from tests import tiny
from tests.browser import HOSTILE, PICTURES, THRESHOLD_COS, Serving, serious, too_wide

Open = Callable[..., Page]
FIRST = 30  # hits of the first answer
ALL = PICTURES + len(HOSTILE)


def _captions(page: Page) -> list[str]:
    expect(page.locator("#hits")).not_to_have_attribute("aria-busy", "true")
    return page.locator(".hit .text").all_inner_texts()


def _ask(page: Page, words: str) -> list[str]:
    page.get_by_role("searchbox").fill(words)
    page.get_by_role("searchbox").press("Enter")
    expect(page).to_have_title(f"{words} · shapes")
    expect(page.locator(".hit:not(.waiting)").first).to_be_visible()
    return _captions(page)


def test_words_find_pictures_with_their_scores_and_the_line_of_the_threshold(served: Serving, open_page: Open) -> None:
    page = open_page(f"{served.address}/")
    assert re.fullmatch(r".*/d/shapes/", page.url)
    found = _ask(page, "a pink cross")
    assert any("pink cross" in caption for caption in found[:4])
    cosines = [float(text.replace("−", "-")) for text in page.locator(".hit .cos").all_inner_texts()]
    assert len(cosines) >= FIRST
    assert cosines == sorted(cosines, reverse=True)
    shown = page.locator(".hit .pane img").first
    expect.soft(shown).to_have_js_property("complete", True)
    assert shown.evaluate("one => one.naturalWidth") == 160
    expect(page.locator("#count")).to_contain_text(f"{ALL} pictures")
    _ask(page, "a happy face")  # which few of the shapes are
    expect(page.locator(".line")).to_contain_text(f"{THRESHOLD_COS:.3f}")
    above, below = page.locator(".line").evaluate(
        "line => [line.previousElementSibling, line.nextElementSibling].map(hit => hit.querySelector('.cos').textContent)"
    )
    assert float(above) >= THRESHOLD_COS > float(below.replace("−", "-"))
    _ask(page, "a dog")
    expect(page.locator("#hits > :first-child")).to_have_class("line")


def test_words_typed_before_the_page_is_ready_are_not_lost(served: Serving, open_page: Open) -> None:
    page = open_page()
    held: list[Route] = []
    page.route("**/api/v1/datasets", lambda route: held.append(route))
    page.goto(f"{served.address}/d/shapes/", wait_until="commit")
    page.get_by_role("searchbox").fill("a red")
    while not held:
        page.wait_for_timeout(20)
    page.get_by_role("searchbox").press_sequentially(" circle")
    held[0].continue_()
    expect(page.locator("#landing")).to_contain_text(f"{ALL} pictures")
    expect(page.get_by_role("searchbox")).to_have_value("a red circle")


def test_the_keyboard_alone_is_enough(served: Serving, open_page: Open) -> None:
    page = open_page(f"{served.address}/d/shapes/")
    expect(page.locator("#landing")).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.keyboard.type("a red circle")
    page.keyboard.press("Enter")
    expect(page.locator(".hit:not(.waiting)")).to_have_count(FIRST)
    expect(page.get_by_role("status")).to_have_text(f"{FIRST} pictures shown, more can be loaded.")
    for _ in range(9):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.matches('.hit .look')"):
            break
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # more like this
    expect(page.locator("#terms .chip")).to_contain_text("this picture")
    expect(page.locator("#hits")).to_be_focused()
    page.keyboard.press("/")
    expect(page.get_by_role("searchbox")).to_be_focused()


def test_a_picture_is_dropped_pasted_or_chosen_and_finds_itself(served: Serving, open_page: Open) -> None:
    page = open_page(f"{served.address}/d/shapes/")
    data, caption = tiny.picture(31)
    page.locator("#file").set_input_files({"name": "mine.jpg", "mimeType": "image/jpeg", "buffer": data})
    expect(page.locator("#terms .chip img")).to_be_visible()
    assert _captions(page)[0] == caption
    for event in ("drop", "paste"):
        data, caption = tiny.picture(20 if event == "drop" else 41)
        page.evaluate(
            """([name, data]) => {
              const held = new DataTransfer();
              held.items.add(new File([Uint8Array.from(atob(data), c => c.charCodeAt(0))], "x.jpg", {type: "image/jpeg"}));
              const given = {bubbles: true, cancelable: true};
              document.body.dispatchEvent(name === "drop" ? new DragEvent("drop", {...given, dataTransfer: held})
                                                          : new ClipboardEvent("paste", {...given, clipboardData: held}));
            }""",
            [event, base64.b64encode(data).decode()],
        )
        expect(page.locator(".hit .text").first).to_have_text(caption)
        expect(page.locator("#terms .chip")).to_have_count(1)
    page.go_back()
    expect(page.locator(".hit .text").first).to_have_text(tiny.picture(20)[1])


def test_a_file_that_is_no_picture_is_told_kindly(served: Serving, open_page: Open) -> None:
    page = open_page(f"{served.address}/d/shapes/")
    page.locator("#file").set_input_files({"name": "a.png", "mimeType": "image/png", "buffer": b"no picture"})
    expect(page.get_by_role("alert")).to_contain_text("not a picture this browser can read")


def test_words_are_added_to_a_picture_and_taken_away(served: Serving, open_page: Open) -> None:
    page = open_page(f"{served.address}/d/shapes/")
    _ask(page, "a red circle")
    page.get_by_role("link", name=re.compile("More like this: a red circle")).first.click()
    expect(page.locator("#terms .chip")).to_have_count(1)
    before = _captions(page)
    page.get_by_text("Add or take away").click()
    page.get_by_label("Words, or the address of a picture").fill("a blue cross")
    page.get_by_role("button", name="Change the search").click()
    expect(page.locator("#terms .chip")).to_have_count(2)
    added = _captions(page)
    assert added != before
    crosses = [index for index, caption in enumerate(added) if "cross" in caption]
    assert len(crosses) > sum("cross" in caption for caption in before)
    page.get_by_role("button", name="Added; take it away instead").nth(1).click()
    expect(page.locator("#terms .chip.away")).to_contain_text("a blue cross")
    assert "without=text%3Aa+blue+cross" in page.url
    page.get_by_role("button", name="Remove: a blue cross").click()
    expect(page.locator("#terms .chip")).to_have_count(1)
    expect(page.get_by_role("searchbox")).to_be_focused()
    assert _captions(page) == before


def test_a_picture_is_said_in_the_words_of_its_neighbours(served: Serving, open_page: Open) -> None:
    page = open_page(f"{served.address}/d/shapes/?q=a+pink+cross")
    page.locator("a[data-like]").first.click()
    page.get_by_text("Say it in words").click()
    expect(page.get_by_role("list", name="Texts nearby")).to_contain_text("cross")
    phrase = page.get_by_role("list", name="Phrases").get_by_role("link").first
    words = phrase.inner_text()
    phrase.click()
    expect(page.get_by_role("searchbox")).to_have_value(words)
    expect(page.locator(".hit:not(.waiting)").first).to_be_visible()


def test_filters_are_chips_that_stand_in_the_address(served: Serving, open_page: Open) -> None:
    page = open_page(f"{served.address}/d/shapes/?q=a+circle")
    page.get_by_text("Filter", exact=True).click()
    page.get_by_label("Column").select_option("domain")
    page.get_by_label("Value").fill("site3.example")
    page.get_by_label("Value").press("Enter")
    expect(page.locator("#filters .chip")).to_contain_text("domain is site3.example")
    _captions(page)
    assert set(page.locator(".hit .domain").all_inner_texts()) == {"site3.example"}
    page.get_by_label("At least this near").fill("0.99")
    page.get_by_label("At least this near").press("Enter")
    expect(page.locator("#count")).to_have_text("Nothing was found: loosen or remove a filter.")
    page.get_by_role("button", name="Remove: cosine at least 0.99").click()
    page.get_by_role("button", name="Remove: domain is site3.example").click()
    expect(page.locator(".hit:not(.waiting)")).to_have_count(FIRST)
    page.go_back()
    expect(page.locator("#filters .chip")).to_have_count(1)


def test_back_brings_the_search_its_hits_and_the_place_again(served: Serving, open_page: Open) -> None:
    page = open_page(f"{served.address}/d/shapes/?q=a+square")
    expect(page.locator(".hit:not(.waiting)")).to_have_count(FIRST)
    for shown in (2 * FIRST, ALL):
        page.mouse.wheel(0, 20_000)
        expect(page.locator(".hit:not(.waiting)")).to_have_count(shown)
    hit = page.locator(".hit").nth(60)
    hit.scroll_into_view_if_needed()
    uid, at = hit.get_attribute("data-uid"), page.evaluate("scrollY")
    hit.locator(".look").click()
    page.wait_for_url(f"**/s/{uid}")
    page.go_back()
    expect(page.locator(f"[data-uid='{uid}']")).to_be_in_viewport()
    assert abs(page.evaluate("scrollY") - at) < 50
    expect(page.locator(".hit:not(.waiting)")).to_have_count(ALL)


def test_scrolling_ends_with_every_sample_once(served: Serving, open_page: Open) -> None:
    page = open_page(f"{served.address}/d/shapes/?q=anything")
    more = page.get_by_role("button", name="Show more")
    more.click()
    expect(page.locator(".hit .look").nth(FIRST)).to_be_focused()
    while more.is_visible():
        page.mouse.wheel(0, 20_000)
        page.wait_for_function("() => !document.querySelector('#hits').hasAttribute('aria-busy')")
    uids = page.locator(".hit").evaluate_all("all => all.map(one => one.dataset.uid)")
    assert len(uids) == len(set(uids)) == ALL


def test_what_strangers_wrote_is_text_and_nothing_else(served: Serving, open_page: Open) -> None:
    page = open_page(f"{served.address}/d/shapes/?q=a+circle&where=domain%3Dstrangers.example")
    expect(page.locator(".hit:not(.waiting)")).to_have_count(len(HOSTILE))
    shown = page.locator(".hit .text").all_inner_texts()
    for text in HOSTILE:
        start = " ".join(text.split())[:100]
        assert any(" ".join(one.split()).startswith(start) for one in shown), start
    assert page.locator("#hits script, #hits [onerror]").count() == 0
    assert page.title() == "a circle · shapes"
    assert too_wide(page) == 0
    hostile = "%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E"
    page.goto(
        f"{served.address}/d/shapes/?q={hostile}&with=text:{hostile}&where=domain%3D{hostile}&with=nonsense&where=x"
    )
    expect(page.locator("#terms .chip")).to_have_count(1)
    expect(page.locator("#filters .chip")).to_contain_text("<img src=x onerror=alert(1)>")
    assert page.locator("main [onerror]").count() == 0


def test_a_trouble_of_the_server_is_a_sentence_on_the_page(served: Serving, open_page: Open) -> None:
    page = open_page(f"{served.address}/d/shapes/?where=nothing%3D1&q=circle", allowed=("status of 400",))
    expect(page.get_by_role("alert")).to_contain_text("nothing")
    expect(page.locator(".hit")).to_have_count(0)
    page.goto(f"{served.address}/d/shapes/?with=picture:00ff")
    expect(page.get_by_role("alert")).to_contain_text("not in this tab any more")


def test_several_data_sets_are_a_choice_that_keeps_the_words(served: Serving, open_page: Open) -> None:
    page = open_page(f"{served.address}/d/shapes/?q=a+pink+cross")
    expect(page.locator(".hit:not(.waiting)")).to_have_count(FIRST)
    before = _captions(page)
    page.get_by_text("Data set: shapes").click()
    page.get_by_role("link", name="again").click()
    page.wait_for_url("**/d/again/?q=a+pink+cross")
    expect(page.locator(".hit:not(.waiting)")).to_have_count(FIRST)
    expect(page.locator(".hit:not(.waiting)").first).to_contain_text(before[0])
    assert _captions(page) == before
    page.goto(f"{served.address}/d/again/")
    expect(page.locator("#landing")).to_contain_text(f"{ALL} pictures")


def test_an_unknown_data_set_is_a_page_that_says_so(served: Serving, open_page: Open) -> None:
    page = open_page(allowed=("status of 404",))
    answer = page.goto(f"{served.address}/d/nobody/")
    assert answer is not None
    assert answer.status == 404
    expect(page.get_by_role("link", name="again")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.slow)])
def test_the_search_page_is_accessible_at_every_width(served: Serving, open_page: Open, scheme: str) -> None:
    address = f"{served.address}/d/shapes/?q=a+circle&with=text:red&without=text:blue&where=width>%3D10&least=-0.5"
    page = open_page(address, color_scheme=scheme)
    expect(page.locator(".hit:not(.waiting)")).to_have_count(FIRST)
    for details in ("Add or take away", "Filter"):
        page.get_by_text(details, exact=True).click()
        assert serious(page) == []
    page.set_viewport_size({"width": 360, "height": 740})
    assert too_wide(page) == 0
    assert serious(page) == []
    page.goto(f"{served.address}/d/shapes/")
    expect(page.locator("#landing")).to_be_visible()
    assert too_wide(page) == 0
    assert serious(page) == []
