"""The page of search results shows the hits in their order, holds its pictures, and trusts no text."""

import base64
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image
from selectolax.lexbor import LexborHTMLParser, LexborNode

from index.hits import Hit
from index.page import write_page
from tests.small_dataset import SCRIPT, draw, jpeg


def _one(tree: LexborHTMLParser | LexborNode, selector: str) -> LexborNode:
    node = tree.css_first(selector)
    assert node is not None, selector
    return node


def _hit(number: int) -> Hit:
    height, width = draw(number)[0].shape[:2]
    return Hit(
        uid=f"{number:032x}",
        url=f"https://www.pictures.example/{number}.jpg?a=1&b=2",
        caption=SCRIPT if number == 3 else draw(number)[1],
        cos=0.4 - number / 100,
        width=width,
        height=height,
        page_url=["https://www.pictures.example/", None, "javascript:alert(1)"][number % 3],
        domain="pictures.example",
        picture=b"not a picture" if number == 5 else jpeg(number),
    )


@pytest.fixture
def page(tmp_path: Path) -> str:
    out = tmp_path / "found" / "stars.html"
    write_page(out, 'a "blue" <star>', [_hit(i) for i in range(8)], "little-web · snapshot 000001")
    return out.read_text(encoding="utf-8")


def test_hits_come_in_their_order_with_cosine_and_uid(page: str) -> None:
    figures = LexborHTMLParser(page).css("figure")
    assert [figure.attributes["id"] for figure in figures] == [f"{i:032x}" for i in range(8)]
    assert [float(_one(figure, ".cos").text()) for figure in figures] == [round(0.4 - i / 100, 3) for i in range(8)]


def test_pictures_are_in_the_page_and_a_broken_one_is_told(page: str) -> None:
    sources = [node.attributes["src"] or "" for node in LexborHTMLParser(page).css("img")]
    assert len(sources) == 7
    assert page.count("no picture") == 1
    for source in sources:
        with Image.open(BytesIO(base64.b64decode(source.removeprefix("data:image/jpeg;base64,")))) as picture:
            assert max(picture.size) <= 320


def test_the_page_runs_nothing_and_links_only_to_the_web(page: str) -> None:
    tree = LexborHTMLParser(page)
    assert not tree.css("script, link, iframe, [style]")
    assert "default-src 'none'" in (_one(tree, "meta[http-equiv]").attributes["content"] or "")
    links = [node.attributes["href"] or "" for node in tree.css("a")]
    assert len(links) == 8 + 3
    assert all(link.startswith("https://www.pictures.example/") for link in links)


def test_query_and_captions_are_escaped(page: str) -> None:
    assert SCRIPT not in page
    assert "<star>" not in page
    tree = LexborHTMLParser(page)
    assert _one(tree, "h1").text() == 'a "blue" <star>'
    assert tree.css("figure .text")[3].text() == SCRIPT


def test_no_hits_make_a_page_too(tmp_path: Path) -> None:
    write_page(tmp_path / "none.html", "nothing", [], "little-web")
    assert "holds no picture to show" in (tmp_path / "none.html").read_text(encoding="utf-8")
