"""Values of erased rows that are parts of longer values of living ones: what stands next to a hit tells which of them it is.

The erased text "a red fruit" stands in the living "a red fruit bowl", too. Wherever the bytes around a hit are those of the
longer value the hit is the living row's, everywhere else it is a trace.
"""

import html
import json
from collections import defaultdict
from dataclasses import dataclass, field

NEAR_BYTES = 8
_Sides = tuple[bytes, bytes]


@dataclass
class Neighbourhood:
    """What stands before and after erased values within living ones."""

    _of: dict[bytes, set[_Sides]] = field(default_factory=lambda: defaultdict(set))

    def add(self, value: bytes, before: bytes, after: bytes) -> None:
        """Note where a value stands within a longer one."""
        self._of[value].add((before[-NEAR_BYTES:], after[:NEAR_BYTES]))

    def explains(self, value: bytes, before: bytes, after: bytes) -> bool:
        """Tell whether a hit between these bytes belongs to one of the longer values, as it is or escaped for JSON or HTML."""
        return any(
            before.endswith(left) and after.startswith(right)
            for sides in self._of.get(value, ())
            for left, right in (sides, _escaped(sides))
        )


def _escaped(sides: _Sides) -> _Sides:
    left, right = (side.decode("utf-8", "ignore") for side in sides)
    as_html, as_json = (html.escape(left), html.escape(right)), (json.dumps(left)[1:-1], json.dumps(right)[1:-1])
    left, right = as_html if as_html != (left, right) else as_json
    return left.encode()[-NEAR_BYTES:], right.encode()[:NEAR_BYTES]


def within_member(extension: str, before: bytes, after: bytes, begin: int, end: int) -> _Sides:
    """Return what of a hit's neighbours belongs to the same value of a tar's member.

    `begin` and `end` are how many bytes of the member stand before and after the hit. Members of JSON hold many values, those
    of text are one; in others (pictures) whatever is met is the member's own.
    """
    if extension == "json":
        return before.rpartition(b'"')[2], after.partition(b'"')[0]
    if extension == "txt":
        return before[max(0, len(before) - begin) :], after[:end]
    return b"", b""
