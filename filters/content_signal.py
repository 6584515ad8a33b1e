"""Read Cloudflare's Content-Signal lines in robots.txt (optout.md §4.4): consent by use, for a user-agent group, without paths.

Absence grants nothing and forbids nothing. What is badly written may forbid, and is then flagged, but never allows.
"""

import re
from collections.abc import Iterator
from typing import Final

from filters.robots import Record, Robots
from filters.signal import Category, Flag, Statement, Value

KEY: Final = "content-signal"

_CATEGORY: Final[dict[str, Category]] = {"ai-train": "train", "search": "search", "ai-input": "ai-input"}
_VALUES: Final[dict[str, Value]] = {"yes": "allow", "no": "deny"}
_NO: Final = frozenset({"n", "false", "0", "none", "never", "disallow", "deny"})
_PAIR: Final = re.compile(r"([a-z_-]+)\s*[=:]\s*\"?([a-z0-9]+)")


def read(robots: Robots, token: str) -> list[Statement]:
    """Return what the token's group says; lines before any group count for everybody where they forbid."""
    found = [statement for record in robots.said(token, KEY) for statement in _line(record)]
    for section, record in robots.records:
        if section < 0 and record.key == KEY:
            denials = (statement for statement in _line(record) if statement.value == "deny")
            found += [statement._replace(flag="nonconformant") for statement in denials]
    return found


def _line(record: Record) -> Iterator[Statement]:
    for piece in record.value.decode("utf-8", "replace").lower().split(","):
        name, equals, value = (part.strip() for part in piece.partition("="))
        foreign = name.replace("_", "-") not in _CATEGORY and not _PAIR.search(value)
        if not piece.strip() or (equals and foreign):
            continue  # `use=reference` and other names that are nobody's business here
        if equals and name in _CATEGORY and value in _VALUES:
            yield Statement(_CATEGORY[name], _VALUES[value], record.raw)
        else:
            yield from _sloppy(piece, record.raw)


def _sloppy(piece: str, raw: str) -> Iterator[Statement]:
    """Read what is not `name=yes|no`, such as pairs without commas between them: only a plain no is taken."""
    for name, value in _PAIR.findall(piece):
        category = _CATEGORY.get(name.replace("_", "-"))
        if category is None:
            continue
        flag: Flag = "malformed_reservation" if value in _NO else "malformed"
        known = value == "no"
        yield Statement(category, "deny" if known else "unknown", raw, "nonconformant" if known else flag)
