"""Choose which URL of an <img> shows the picture: src, a lazy loader's attribute, or the largest srcset candidate."""

import re
from collections.abc import Mapping, Sequence

LAZY = (
    "data-src",
    "data-original",
    "data-lazy-src",
    "data-lazy",
    "data-original-src",
    "data-img-src",
    "data-echo",
    "data-url",
)
_SRCSETS = ("srcset", "data-srcset", "data-lazy-srcset")
_MAX_CHARS = 65_536
_SPACE_COMMA = re.compile(r"[\s,]*")
_URL = re.compile(r"\S+")
_DESCRIPTORS = re.compile(r"(?:[^,(]+|\([^)]*\)?)*+")
_WIDTH = re.compile(r"(?<!\S)(\d{1,6})w(?!\S)")
_DENSITY = re.compile(r"(?<!\S)(\d{1,3}(?:\.\d{1,4})?)x(?!\S)")
_PLACEHOLDER = re.compile(
    r"(?:^|[/_-])(?:blank|placeholder|spacer|transparent|lazy|lazyload|loading|loader|pixel|1x1|grey|gray|empty|clear|dummy)"
    r"\.(?:gif|png|jpe?g|svg|webp)(?:\?|$)",
    re.IGNORECASE,
)

Candidate = tuple[str, int, float]
"""URL, width in pixels (0 when not given), density."""


def parse_srcset(value: str) -> list[Candidate]:
    """Split a srcset attribute into candidates (HTML §4.8.4.3.10); `data:` candidates are left out."""
    found: list[Candidate] = []
    value = value[:_MAX_CHARS]
    at = 0
    while at < len(value):
        at = _end(_SPACE_COMMA.match(value, at), at)
        run = _URL.match(value, at)
        if run is None:
            break
        url, at, words = run[0], run.end(), ""
        if url.endswith(","):
            url = url.rstrip(",")
        else:
            rest = _DESCRIPTORS.match(value, at)
            words, at = (rest[0], rest.end()) if rest else ("", at)
        if url and url[:5].lower() != "data:":
            width, density = _WIDTH.search(words), _DENSITY.search(words)
            found.append((url, int(width[1]) if width else 0, float(density[1]) if density else 1.0))
    return found


def _end(match: re.Match[str] | None, at: int) -> int:
    return match.end() if match else at


def largest(candidates: Sequence[Candidate]) -> Candidate | None:
    """Return the widest candidate, or the densest where no widths are given; the first of equals."""
    return max(candidates, key=lambda candidate: (candidate[1], candidate[2]), default=None)


def picture_url(attributes: Mapping[str, str | None], sources: Sequence[Mapping[str, str | None]] = ()) -> str:
    """Return the URL, as written, of the best rendition of an <img> (`sources`: its <picture>'s), or "".

    A candidate that says it is larger (a width, a density over 1) goes before src; one that says nothing only fills in.
    """
    src = (attributes.get("src") or "").strip()
    if not src or src[:5].lower() in ("data:", "about", "javas") or _PLACEHOLDER.search(src[-200:]):
        src = next((url for name in LAZY if (url := (attributes.get(name) or "").strip())), src)
    own = _candidates(attributes)
    found = own or [candidate for source in sources for candidate in _candidates(source)]
    best = largest(found)
    if best is None or (src and src[:5].lower() != "data:" and not best[1] and best[2] <= 1):
        return src
    return best[0]


def _candidates(attributes: Mapping[str, str | None]) -> list[Candidate]:
    return [found for name in _SRCSETS if (value := attributes.get(name)) for found in parse_srcset(value)]
