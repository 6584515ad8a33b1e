"""Read trust.txt (JournalList's specification): the one line of it that speaks of training (optout.md §4.4)."""

import re
from typing import Final

from filters.signal import Flag, Statement, Value

_LINE: Final = re.compile(rb"^[ \t]*data-?training-?allowed[ \t]*[=:][ \t]*([^\r\n#]*)", re.IGNORECASE | re.MULTILINE)
_VALUES: Final[dict[str, Value]] = {"yes": "allow", "no": "deny"}
_NO: Final = frozenset({"n", "false", "0", "none", "never"})


def parse(body: bytes) -> Statement | None:
    """Return what the file says of training, a no before anything else; None where it says nothing."""
    text = body.removeprefix(b"\xef\xbb\xbf").replace(b"\r", b"\n")
    found = [_statement(match) for match in _LINE.finditer(text)]
    order = {"deny": 0, "unknown": 1, "allow": 2}
    return min(found, key=lambda statement: order[statement.value], default=None)


def _statement(match: re.Match[bytes]) -> Statement:
    said = match[1].decode("utf-8", "replace").strip().strip("\"'").lower()
    raw = match[0].strip().decode("utf-8", "replace")[:1000]
    if said in _VALUES:
        return Statement("train", _VALUES[said], raw)
    flag: Flag = "malformed_reservation" if said in _NO else "malformed"
    return Statement("train", "unknown", raw, flag)
