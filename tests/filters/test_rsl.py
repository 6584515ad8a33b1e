import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.robots import parse as parse_robots
from filters.rsl import LIMIT_BYTES, link_licences, parse, robots_licences

SITE = "https://a.example"
BASE = f"{SITE}/robots.txt"


def licence(*parts: str, url: str = "/") -> bytes:
    inside = "".join(f"<license>{part}</license>" for part in parts)
    return f'<rsl xmlns="https://rslstandard.org/rsl"><content url="{url}">{inside}</content></rsl>'.encode()


def training(body: bytes, url: str = f"{SITE}/x.jpg") -> list[str]:
    found = parse(body)
    assert found is not None
    return [said.value for said in found.statements(url) if said.category == "train"]


@pytest.mark.parametrize(
    ("part", "values"),
    [
        # optout.md §4.4: prohibits that covers training, or payment, denies
        *((f'<prohibits type="usage">{word}</prohibits>', ["deny"]) for word in ("all", "ai-all", "ai-train", "train-ai")),
        ('<permits type="usage">search</permits><prohibits type="usage">ai-train</prohibits>', ["deny"]),
        ('<permits type="usage">search, ai-input</permits><prohibits type="usage">ai-input ai-train</prohibits>', ["deny"]),
        ('<prohibits>AI-Train</prohibits>', ["deny"]),
        ('<payment type="purchase"/>', ["deny"]),
        ('<payment type="subscription"><amount currency="EUR">5</amount></payment>', ["deny"]),
        ('<payment type="training"/>', ["deny"]),
        ('<payment><amount currency="USD">1</amount></payment>', ["deny"]),
        ('<permits type="usage">ai-train</permits><payment type="crawl"/>', ["deny"]),
        ('<permits type="usage">search</permits>', ["deny"]),  # what is listed is all that is permitted
        ('<permits type="usage">all</permits>', ["allow"]),
        ('<permits type="usage">ai-train</permits><payment type="free"/>', ["allow"]),
        ('<permits type="usage">ai-all</permits><payment type="attribution"/>', ["allow"]),
        ('<permits type="usage">ai-train</permits><permits type="user">education</permits>', ["unknown"]),
        ('<prohibits type="usage">search</prohibits>', []),
        ('<prohibits type="user">commercial</prohibits>', []),
        ('<payment type="free"/>', []),
        ('<payment/>', []),
        ('', []),
    ],
)  # fmt: skip
def test_a_licence_leaves_training_or_it_does_not(part: str, values: list[str]) -> None:
    assert training(licence(part)) == values


def test_of_several_licences_one_that_denies_denies() -> None:
    free, paid = '<permits type="usage">ai-train</permits>', '<payment type="purchase"/>'
    assert "deny" in training(licence(free, paid))
    assert parse(licence('<prohibits type="usage">all</prohibits>')).statements(f"{SITE}/")[2].category == "search"  # type: ignore[union-attr]


def test_the_content_with_the_longest_pattern_speaks() -> None:
    no, yes = '<prohibits type="usage">ai-train</prohibits>', '<permits type="usage">ai-train</permits>'
    body = (
        f'<rsl><!-- of all --><content url="/"><license>{no}</license></content>'
        f'<content url="/free/*.jpg"><license>{yes}</license></content>'
        f'<content url="https://b.example/"><license>{yes}</license></content></rsl>'
    ).encode()
    assert training(body) == ["deny"]
    assert training(body, f"{SITE}/free/x.jpg") == ["allow"]
    assert training(body, f"{SITE}/free/x.png") == ["deny"]
    assert "allow" in training(body, "https://b.example/x")
    assert training(licence(no, url="pictures/")) == []
    assert training(licence(no, url="pictures/"), f"{SITE}/pictures/x.jpg") == ["deny"]
    assert training(licence(no, url=f"{SITE}/a*z"), f"{SITE}/abcz") == ["deny"]


BOMB = b'<?xml version="1.0"?><!DOCTYPE r [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;">]><rsl><content url="/">&b;</content></rsl>'
OUTSIDE = b'<!DOCTYPE r [<!ENTITY x SYSTEM "file:///etc/passwd">]><rsl><content url="/">&x;</content></rsl>'


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<rsl>",
        b"not xml",
        b"<html><body>no such page</body></html>",
        b"<!DOCTYPE html><rsl/>",
        BOMB,
        OUTSIDE,
        b'<?xml version="1.0" encoding="klingon"?><rsl/>',
        b"<rsl>" + b"<content/>" * 30_000 + b"</rsl>",
        b"<rsl/>" + b" " * LIMIT_BYTES,
    ],
)
def test_what_is_no_licence_or_a_bomb_is_not_read(body: bytes) -> None:
    assert parse(body) is None


def test_deep_nesting_costs_no_stack() -> None:
    assert training(b'<rsl><content url="/">' + b"<a>" * 9000 + b"</a>" * 9000 + b"</content></rsl>") == []


@pytest.mark.parametrize(
    ("text", "urls"),
    [
        ("License: /licence.xml\nUser-agent: *\nAllow: /\n", [f"{SITE}/licence.xml"]),
        ("User-agent: *\nLicense: https://rsl.example/l.xml\nAllow: /\n", ["https://rsl.example/l.xml"]),
        ("User-agent: *\nAllow: /\n\nUser-agent: other\nLicense: /other.xml\n", []),
        ("User-agent: other\nDisallow: /\n\nLicense: /apart.xml\n", [f"{SITE}/apart.xml"]),
        ("User-agent: tamis\nLicense: /ours.xml\nUser-agent: *\nLicense: /all.xml\nAllow: /\n",
         [f"{SITE}/ours.xml", f"{SITE}/all.xml"]),
        ("User-agent: *\nLicense: /a.xml\nLicense: /a.xml\n", [f"{SITE}/a.xml"]),
        ("User-agent: *\nLicense: javascript:alert(1)\n", []),
    ],
)  # fmt: skip
def test_robots_txt_links_a_licence_for_our_group_or_for_all(text: str, urls: list[str]) -> None:
    assert robots_licences(parse_robots(text.encode()), "tamis", BASE) == urls


@pytest.mark.parametrize(
    ("line", "urls"),
    [
        ('<https://a.example/l.xml>; rel="license"; type="application/rsl+xml"', [f"{SITE}/l.xml"]),
        ("</l.xml>; rel=license; type=application/rsl+xml", [f"{SITE}/l.xml"]),
        ('</l.xml>; REL="describedby license"; Type="Application/RSL+XML; charset=utf-8"', [f"{SITE}/l.xml"]),
        ('</a>; rel=next, </l.xml>; rel=license; type="application/rsl+xml"', [f"{SITE}/l.xml"]),
        ('</l.xml>; rel="license"', []),
        ('</l.xml>; rel="next"; type="application/rsl+xml"', []),
        ('</l.html>; rel=license; type="text/html", </n>; type="application/rsl+xml"', []),
        ("<" * 9000, []),
        ("</a>" + "; a=b" * 3000, []),
    ],
)
def test_a_link_header_names_a_licence_by_relation_and_type(line: str, urls: list[str]) -> None:
    assert link_licences([line], f"{SITE}/x.jpg") == urls


@settings(deadline=None)
@given(st.binary(max_size=200), st.text(max_size=200))
def test_nothing_makes_it_raise(body: bytes, line: str) -> None:
    parse(b"<rsl>" + body + b"</rsl>")
    link_licences([line], SITE)
