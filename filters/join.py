"""Resolve a page's many references against its one base: what plainly is in canonical form already is only joined."""

import re

from filters.urls import canonical_url

_CHARS = r"A-Za-z0-9\-._~!$&()*+,;=@"
_ESCAPED = r"%(?:20|[89A-F][0-9A-F])"  # what normal form escapes, and how
_SEGMENT = rf"[{_CHARS}']*+(?:{_ESCAPED}[{_CHARS}']*+)*+"
# A path without colon, dot segments or anything that normal form changes; the general rule takes all others.
_PLAIN = re.compile(
    rf"(?:/(?![/.]|\Z)|(?![/.?]|\Z)){_SEGMENT}(?:/(?!\.){_SEGMENT})*+(?:\?[{_CHARS}:/?]*+(?:{_ESCAPED}[{_CHARS}:/?]*+)*+)?"
)
_BASE = re.compile(r"(https?://[^/?#]+)(/[^?#]*/|/)")


class Joiner:
    """canonical_url(reference, base) for one canonical base, several times as fast on the usual references."""

    def __init__(self, base: str) -> None:
        self.base = base
        place = _BASE.match(base)
        self._origin = place[1] if place else ""
        self._folder = place[0] if place else ""

    def __call__(self, reference: str) -> str | None:
        """Return the canonical URL of a reference, or None."""
        if self._origin and _PLAIN.fullmatch(reference):
            return (self._origin if reference[0] == "/" else self._folder) + reference
        return canonical_url(reference, self.base)
