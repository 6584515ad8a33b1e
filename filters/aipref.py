"""Read AI preferences of the IETF's AIPREF drafts (optout.md §5): the Content-Usage header, and its lines in robots.txt.

Both hold an RFC 9651 dictionary. `train-ai` speaks of generative models; the drafts' earlier labels are read as what they
stood for, and flagged. What cannot be parsed is unknown, and flagged as a reservation where it looks like one.
"""

import re
from collections.abc import Sequence
from typing import Final

import http_sf
from http_sf.types import Token

from filters.robots import Pattern, Record, Robots, compile_pattern, target_octets
from filters.signal import Category, Flag, Statement

DRAFTS: Final = "vocab-07, attach-05"
KEY: Final = "content-usage"
MAX_CHARS: Final = 8192

_LABELS: Final[dict[str, Category]] = {"train-ai": "train-genai", "search": "search"}
_OLD_LABELS: Final[dict[str, Category]] = {
    "tdm": "tdm",  # vocab-01
    "ai": "train",
    "genai": "train-genai",
    "inference": "ai-input",
    "all": "tdm",  # vocab-02
    "train-genai": "train-genai",
    "ai-use": "ai-input",
    "bots": "crawl",  # vocab-03: automated visits; of training it says nothing
    "ai-output": "ai-input",  # vocab-04
}
_RESERVING: Final = re.compile(
    r"(?<![a-z0-9_-])(?:train[-_]?(?:gen)?ai|genai|ai|tdm|all)\s*[=:]\s*[\"']?(?:n|no|none|\?0|0|false)(?![a-z0-9])",
    re.IGNORECASE,
)
_RAW_CHARS: Final = 1000


def read_header(lines: Sequence[str]) -> list[Statement]:
    """Read the Content-Usage fields of one response, which are one dictionary (RFC 9651 §4.2)."""
    text = ", ".join(lines)
    return _preferences(text, f"Content-Usage: {text}"[:_RAW_CHARS])


def read_robots(robots: Robots, token: str, url: str | bytes) -> list[Statement]:
    """Return the token's preference for a URL: the longest path decides, equal paths add up, order plays no part.

    Only a URL that may be crawled has one.
    """
    records = robots.said(token, KEY)
    if not records or not robots.verdict(url, token).allowed:
        return []
    target = target_octets(url)
    longest, chosen = -1, list[tuple[str, Record]]()
    for record in records:
        pattern, text = _usage(record)
        if pattern.octets < longest or not pattern.matches(target):
            continue
        if pattern.octets > longest:
            longest, chosen = pattern.octets, []
        chosen.append((text, record))
    return [statement for text, record in chosen for statement in _preferences(text, record.raw)]


def _usage(record: Record) -> tuple[Pattern, str]:
    """Split a value into its path and its preference; without a path it speaks of everything."""
    path, value = b"/", record.value
    if value.startswith(b"/"):
        path, _, value = value.replace(b"\t", b" ").partition(b" ")
    return compile_pattern(path), value.strip().decode("latin-1")


def _preferences(text: str, raw: str) -> list[Statement]:
    if not text.strip():
        return []
    try:
        if len(text) > MAX_CHARS:
            raise ValueError("longer than any list of preferences")
        found = http_sf.parse(text.encode("latin-1", "replace"), tltype="dictionary")
    except (ValueError, RecursionError):  # http_sf's own error is a ValueError
        return [Statement("train-genai", "unknown", raw, _flag(text))]
    statements = []
    for label, (value, _) in found.items():
        category = _LABELS.get(label) or _OLD_LABELS.get(label)
        if category is None:
            continue
        if isinstance(value, Token) and str(value) in ("y", "n"):
            flag: Flag = "" if label in _LABELS else "old_label"
            statements.append(Statement(category, "allow" if str(value) == "y" else "deny", raw, flag))
        else:
            said = f"{label}={'?0' if value is False else value}"
            statements.append(Statement(category, "unknown", raw, _flag(said)))
    return statements


def _flag(text: str) -> Flag:
    return "malformed_reservation" if _RESERVING.search(text[:MAX_CHARS]) else "malformed"
