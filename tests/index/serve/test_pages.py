"""Pages are shells under a strict policy: nothing inline, nothing from elsewhere, and only our own files are served."""

import re
from importlib.resources import files

import pytest
from selectolax.lexbor import LexborHTMLParser

from index.serve.pages import static_files
from tests.serving import Running

_PAGES = ("/d/drawn/", "/d/drawn/about", "/d/drawn/s/" + "0" * 32, "/d/drawn/s/%22%3E%3Cscript%3E", "/d/nobody/")


@pytest.mark.parametrize("path", _PAGES)
def test_a_page_runs_and_loads_only_what_is_ours(server: Running, path: str) -> None:
    answer = server.client.get(path)
    assert answer.status_code == (404 if "nobody" in path else 200)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["cache-control"] == "no-cache"
    tree = LexborHTMLParser(answer.text)
    assert not [node for node in tree.css("script") if "src" not in node.attributes or node.text()]
    assert not tree.css("style, [style], iframe, object, base")
    assert not [name for node in tree.css("*") for name in node.attributes if name.startswith("on")]
    asked = [node.attributes.get("src") or node.attributes["href"] for node in tree.css("script, img, link")]
    assert asked
    for address in asked:
        assert address is not None
        assert server.client.get(address).status_code == 200, address


def test_the_modules_name_only_files_that_are_there() -> None:
    known = static_files()
    for name, found in known.items():
        text = found.data.decode()
        for other in re.findall(r'from "\./([^"]+)"', text) + re.findall(r"url\(['\"]?([^)'\"]+)", text):
            assert other in known, f"{name} names {other}"
    assert not [
        name for name, found in known.items() if b"innerHTML" in found.data or b"insertAdjacentHTML" in found.data
    ]


def test_a_static_file_is_sent_once_and_then_only_confirmed(server: Running) -> None:
    first = server.client.get("/static/dom.js")
    assert first.headers["content-type"] == "text/javascript; charset=utf-8"
    again = server.client.get("/static/dom.js", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize(
    "path",
    [
        "/static/../pages.py",
        "/static/%2e%2e/pages.py",
        "/static/..%2fpages.py",
        "/static/frame.html",
        "/static/x%00.js",
        "/static/",
    ],
)
def test_nothing_but_static_files_is_served_as_one(server: Running, path: str) -> None:
    answer = server.client.get(path)
    assert answer.status_code == 404
    assert b"APIRouter" not in answer.content


def test_the_first_address_leads_to_the_first_data_set(server: Running) -> None:
    assert server.client.get("/", follow_redirects=False).headers["location"] == "/d/drawn/"
    assert server.client.get("/d/again", follow_redirects=False).headers["location"] == "/d/again/"
    assert (
        server.client.get("/d/%2F%2Fevil.example", follow_redirects=False)
        .headers.get("location", "/d/")
        .startswith("/d/")
    )


def test_every_template_is_escaped() -> None:
    for entry in files("index.serve").joinpath("templates").iterdir():
        assert "|safe" not in entry.read_text(encoding="utf-8"), entry.name
