"""Read RSL 1.0 licences (optout.md §4.4): where they are linked, and whether they leave training to anybody for free.

A licence can permit and prohibit uses, and ask for payment. Only what bears on training, search and input to models is
read; a licence for some people or places alone allows nothing here.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit
from xml.etree.ElementTree import Element, ParseError, tostring

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from filters.robots import Pattern, Robots, compile_pattern, target_octets
from filters.signal import Category, Statement
from filters.urls import canonical_url, origin

VERSION: Final = "1.0"
KEY: Final = "license"
LIMIT_BYTES: Final = 1_000_000
MEDIA_TYPE: Final = "application/rsl+xml"

_MAX_ELEMENTS: Final = 20_000
_RAW_CHARS: Final = 1000
_TRAINING: Final = frozenset({"all", "ai-all", "ai-train", "train-ai", "train-genai"})
_OTHERS: Final[dict[Category, frozenset[str]]] = {
    "ai-input": frozenset({"all", "ai-all", "ai-input", "ai-use"}),
    "search": frozenset({"all", "search"}),
}
_FREE: Final = frozenset({"free", "attribution"})
_LINK: Final = re.compile(r"<([^<>]*)>((?:\s*;\s*[^\s=;,\"]+(?:\s*=\s*(?:\"[^\"]*\"|[^\s;,\"]*))?)*)")
_PARAMETER: Final = re.compile(r";\s*([^\s=;,\"]+)(?:\s*=\s*(?:\"([^\"]*)\"|([^\s;,\"]*)))?")


def robots_licences(robots: Robots, token: str, base: str) -> list[str]:
    """Return the licences a robots.txt links for a token: in its group, before any group, or set apart by a blank line."""
    ours = robots.said(token, KEY)
    found = [
        record
        for section, record in robots.records
        if record.key == KEY and (record in ours or section < 0 or record.apart)
    ]
    urls = (canonical_url(record.value.decode("utf-8", "replace"), base) for record in found)
    return list(dict.fromkeys(url for url in urls if url))


def link_licences(lines: Sequence[str], base: str) -> list[str]:
    """Return the targets of Link fields (RFC 8288) that are RSL licences."""
    found = []
    for line in lines:
        for target, rest in _LINK.findall(line[:8192]):
            said = {name.lower(): quoted or bare for name, quoted, bare in reversed(_PARAMETER.findall(rest))}
            media_type = said.get("type", "").partition(";")[0].strip().lower()
            if "license" in said.get("rel", "").lower().split() and media_type == MEDIA_TYPE:
                found.append(canonical_url(target, base))
    return list(dict.fromkeys(url for url in found if url))


@dataclass(frozen=True, slots=True)
class _Content:
    site: str | None  # origin that it is limited to; None: whoever links the licence
    pattern: Pattern
    statements: tuple[Statement, ...]


@dataclass(frozen=True, slots=True)
class Licence:
    """The contents that one licence file speaks of."""

    contents: tuple[_Content, ...]

    def statements(self, url: str) -> list[Statement]:
        """Return what holds for a URL: the contents with the longest matching pattern."""
        target, site = target_octets(url), origin(url)
        matching = [c for c in self.contents if c.site in (None, site) and c.pattern.matches(target)]
        longest = max((content.pattern.octets for content in matching), default=0)
        return [s for content in matching if content.pattern.octets == longest for s in content.statements]


def parse(body: bytes) -> Licence | None:
    """Parse a licence file; None when it is not one. Entities, document types and outside references are refused."""
    if len(body) > LIMIT_BYTES:
        return None
    try:
        root = fromstring(body, forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError, LookupError):  # LookupError: an encoding nobody knows
        return None
    if _name(root) != "rsl" or sum(1 for _ in root.iter()) > _MAX_ELEMENTS:
        return None
    contents = [_content(element) for element in root.iter() if _name(element) == "content"]
    return Licence(tuple(content for content in contents if content is not None))


def _name(element: Element) -> str:
    return element.tag.rpartition("}")[2].lower() if isinstance(element.tag, str) else ""  # comments have no name


def _content(element: Element) -> _Content | None:
    where = (element.get("url") or "/").strip()
    site = None
    if re.match(r"https?://", where, re.IGNORECASE):
        absolute = canonical_url(where)
        if absolute is None:
            return None
        site = origin(absolute)
        where = where[where.find("/", 8) :] if "/" in where[8:] else urlsplit(absolute).path
    elif not where.startswith(("/", "*")):
        where = "/" + where
    licences = [child for child in element if _name(child) == "license"]
    return _Content(site, compile_pattern(where.encode("utf-8", "replace")), tuple(_statements(licences)))


def _statements(licences: Sequence[Element]) -> Iterator[Statement]:
    """Yield what the licences of one content come to; a use that one of them denies is denied."""
    for licence in licences:
        raw = re.sub(r"\s+", " ", tostring(licence, encoding="unicode"))[:_RAW_CHARS]
        permits, prohibits = _usages(licence, "permits"), _usages(licence, "prohibits")
        paid = any(_asks_money(child) for child in licence if _name(child) == "payment")
        for_all = not any(_kind(child) in ("user", "geo") for child in licence if _name(child) == "permits")
        uses: dict[Category, frozenset[str]] = {"train": _TRAINING, **_OTHERS}
        for category, names in uses.items():
            if prohibits & names or (permits and not permits & names) or (paid and category == "train"):
                yield Statement(category, "deny", raw)
            elif permits & names:
                yield Statement(category, "allow" if for_all and not paid else "unknown", raw)


def _kind(element: Element) -> str:
    return (element.get("type") or "usage").strip().lower()


def _usages(licence: Element, name: str) -> frozenset[str]:
    texts = (child.text or "" for child in licence if _name(child) == name and _kind(child) == "usage")
    return frozenset(word for text in texts for word in re.split(r"[\s,|]+", text.lower()) if word)


def _asks_money(payment: Element) -> bool:
    kind = (payment.get("type") or "").strip().lower()
    return kind not in _FREE if kind else any(_name(child) == "amount" for child in payment.iter())
