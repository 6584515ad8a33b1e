"""Read an HTML page: its pictures with their texts, its language and licence, and what it says of its use."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from selectolax.lexbor import LexborHTMLParser, LexborNode

from filters.charset import header_charset, to_utf8
from filters.flatten import flatten, is_costly
from filters.join import Joiner
from filters.page_signals import PageOptions, Pairs, header_lines
from filters.srcset import picture_url
from filters.urls import canonical_url

_IMG = re.compile(rb"<im(?:g|age)[\s/>]", re.IGNORECASE)
_SCHEME = re.compile(r"\s*([A-Za-z][A-Za-z0-9+.-]*):")
_SURROGATE = re.compile("[\ud800-\udfff]")
_LANG = re.compile(r"[A-Za-z]{2,8}(?:-[A-Za-z0-9]{1,8})*")
_CC = re.compile(r"https?://(?:[a-z]+\.)?creativecommons\.org/(?:licen[sc]es|publicdomain)/", re.IGNORECASE)
_LINK_HEADER = re.compile(r"<([^>]*)>\s*;[^,]*\brel\s*=\s*\"?[^\",;]*\blicense\b", re.IGNORECASE)
Attributes = Mapping[str, str | None]

_WITHOUT_EVENTS = 1  # lexbor's WO_EVENTS: nothing here watches the tree change


class Image(NamedTuple):
    """One <img>: its URL as written ("" if none) and canonical (None if unusable), and the text chosen for it."""

    url_raw: str
    url: str | None
    text: str
    text_from: str

    @property
    def reason(self) -> str | None:
        """Say why this cannot become a pair, or None."""
        return pair_reason(self.url_raw, self.url, self.text)


@dataclass(frozen=True, slots=True)
class Page:
    """What a page tells."""

    images: list[Image] = field(default_factory=list)
    base: str = ""
    lang: str | None = None
    license: str | None = None
    meta_robots: list[tuple[str, str]] = field(default_factory=list)
    tdm_reservation: str | None = None
    tdm_policy: str | None = None


def fold(text: str) -> str:
    """Return the text in NFC with white space folded, without NUL or lone surrogates."""
    folded = " ".join(text.split())
    if not folded.isascii():
        folded = unicodedata.normalize("NFC", folded)
        if _SURROGATE.search(folded):
            folded = _SURROGATE.sub("\ufffd", folded)
    return " ".join(folded.replace("\0", " ").split()) if "\0" in folded else folded


def pair_reason(url_raw: str, url: str | None, text: str) -> str | None:
    """Say why a URL and a text cannot become a pair: url_invalid, scheme_unsupported, text_empty; or None."""
    if url is None:
        scheme = _SCHEME.match(url_raw)
        return "scheme_unsupported" if scheme and scheme[1].lower() not in ("http", "https") else "url_invalid"
    return None if text else "text_empty"


def declared_lang(value: str | None) -> str | None:
    """Return the first BCP 47 tag of a language declaration, or None for what is none."""
    tag = (value or "").partition(",")[0].strip().replace("_", "-")
    return tag if _LANG.fullmatch(tag) else None


def license_url(rel: str | None, href: str | None, base: str) -> tuple[bool, str | None]:
    """Return (said by rel=license, URL) when a link names a licence: by its rel, or because it is Creative Commons'."""
    if not href:
        return False, None
    if rel and "license" in rel.lower().split():
        return True, canonical_url(href, base)
    return False, canonical_url(href, base) if _CC.match(href) else None


def read_page(
    html: bytes | str, url: str, *, charset: str | None = None, header_pairs: Pairs = (), options: PageOptions
) -> Page:
    """Read a page at the canonical `url`; broken HTML never raises. Without an <img> nothing is parsed."""
    if isinstance(html, str):
        data = html.encode("utf-8", "replace")
    else:
        declared = charset or header_charset(next(iter(header_lines(header_pairs, "content-type")), None))
        data = to_utf8(html, declared)
    if not _IMG.search(data):
        return Page(base=url)
    if is_costly(data):
        data = flatten(data)
    tree = LexborHTMLParser(data, options=_WITHOUT_EVENTS)
    query = "html,base,meta,link,img" + (",a[href]" if b"icense" in data or b"creativecommons" in data else "")
    return _collect(tree.css(query), url, header_pairs, options, pictures=b"<picture" in data)


def _collect(
    nodes: Sequence[LexborNode], url: str, header_pairs: Pairs, options: PageOptions, *, pictures: bool
) -> Page:
    base: str | None = None
    by_tag: dict[str, list[Attributes]] = {"html": [], "base": [], "meta": [], "link": [], "a": []}
    tags: list[tuple[LexborNode, Attributes]] = []
    for node in nodes:
        attributes, tag = node.attributes, node.tag
        if tag == "img":
            tags.append((node, attributes))
        elif tag in by_tag:
            by_tag[tag].append(attributes)
    base = next((canonical_url(href, url) for found in by_tag["base"] if (href := found.get("href"))), None) or url
    robots, named = _metas(by_tag["meta"], options)
    join = Joiner(base)
    return Page(
        images=[_image(node, attributes, join, options, pictures=pictures) for node, attributes in tags],
        base=base,
        lang=_lang(by_tag["html"], named, header_pairs),
        license=_license([*by_tag["link"], *by_tag["a"]], base, header_pairs),
        meta_robots=robots,
        tdm_reservation=named.get("tdm-reservation"),
        tdm_policy=named.get("tdm-policy"),
    )


def sort_metas(pairs: Pairs, options: PageOptions) -> tuple[list[tuple[str, str]], dict[str, str]]:
    """Split metas into those for crawlers, and the first of every other name (lower-case)."""
    robots: list[tuple[str, str]] = []
    named: dict[str, str] = {}
    token = options.user_agent_token.lower()
    for name, content in pairs:
        key = name.strip().lower()
        if key == "robots" or key == token or key.endswith("bot"):
            robots.append((name, content))
        elif key == "tdm-reservation" and key in named:
            named[key] += "," + content  # several statements: the strictest counts (tdmrep.header_value)
        else:
            named.setdefault(key, content)
    return robots, named


def _metas(metas: Sequence[Attributes], options: PageOptions) -> tuple[list[tuple[str, str]], dict[str, str]]:
    pairs = [
        (name, found["content"] or "")
        for found in metas
        if "content" in found and (name := found.get("name") or found.get("http-equiv") or found.get("property"))
    ]
    return sort_metas(pairs, options)


def _lang(html: Sequence[Attributes], named: Mapping[str, str], header_pairs: Pairs) -> str | None:
    attributes = html[0] if html else {}
    said = (attributes.get("lang"), attributes.get("xml:lang"), named.get("content-language"))
    found = next((lang for value in said if (lang := declared_lang(value))), None)
    return found or declared_lang(next(iter(header_lines(header_pairs, "content-language")), None))


def _license(links: Sequence[Attributes], base: str, header_pairs: Pairs) -> str | None:
    guess: str | None = None
    for found in links:
        by_rel, where = license_url(found.get("rel"), found.get("href"), base)
        if by_rel and where:
            return where
        guess = guess or where
    for line in header_lines(header_pairs, "link"):
        said = _LINK_HEADER.search(line[:4096])
        if said:
            return canonical_url(said[1], base) or guess
    return guess


def _image(node: LexborNode, attributes: Attributes, join: Joiner, options: PageOptions, *, pictures: bool) -> Image:
    raw = picture_url(attributes, _sources(node) if pictures else ())
    url = join(raw) if raw else None
    for name in options.text_from:
        found = _figcaption(node) if name == "figcaption" else attributes.get(name)
        if found and (text := fold(found)):
            return Image(raw, url, text, name)
    return Image(raw, url, "", options.text_from[0] if options.text_from else "alt")


def _sources(img: LexborNode) -> list[Attributes]:
    parent = img.parent
    if parent is None or parent.tag != "picture":
        return []
    return [child.attributes for child in parent.iter() if child.tag == "source"]


def _figcaption(img: LexborNode) -> str | None:
    node = img.parent
    for _ in range(32):
        if node is None or node.tag == "figure":
            break
        node = node.parent
    caption = node.css_first("figcaption") if node is not None and node.tag == "figure" else None
    return caption.text(separator=" ") if caption is not None else None
