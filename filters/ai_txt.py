"""Read Spawning's ai.txt (optout.md §4.1): robots.txt's syntax over file types, for data sets.

Two other formats share the name, so a file counts only where it has a user-agent line and a rule.
"""

import re
from typing import Final

from filters import robots
from filters.signal import Statement

LIMIT_BYTES: Final = robots.LIMIT_BYTES

_AGENT: Final = re.compile(rb"^[ \t]*user-agent[ \t]*:", re.IGNORECASE | re.MULTILINE)
_RULE: Final = re.compile(rb"^[ \t]*(?:dis)?allow[ \t]*:", re.IGNORECASE | re.MULTILINE)


class AiTxt:
    """A parsed ai.txt. File types are compared without case: what is `*.jpg` is `.JPG` too."""

    def __init__(self, text: bytes) -> None:
        self._lines = text.split(b"\n")
        self._rules = robots.parse(text.lower())

    def statement(self, url: str, token: str) -> Statement | None:
        """Return what holds for a file's URL, or None where no rule fits."""
        verdict = self._rules.verdict(url.lower(), token.lower())
        if verdict.line is None:
            return None
        raw = self._lines[verdict.line - 1].strip().decode("utf-8", "replace")[:1000]
        return Statement("train", "allow" if verdict.allowed else "deny", raw)

    def scope(self, token: str) -> str:
        """Return whose group speaks to this token."""
        return self._rules.scope(token)


def parse(body: bytes) -> AiTxt | None:
    """Parse a file that is called ai.txt; None when it is something else of that name, or a page."""
    text = body[:LIMIT_BYTES].removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return AiTxt(text) if _AGENT.search(text) and _RULE.search(text) else None
