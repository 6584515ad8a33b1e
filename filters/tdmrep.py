"""Read TDM reservations (W3C TDMRep final report): the file at the origin, the header, the page's meta tag.

A reading that the report does not know is taken only where it reserves; what cannot be read never allows.
"""

import json
from dataclasses import dataclass
from typing import Literal, NamedTuple

from filters.robots import Pattern, compile_pattern, target_octets

Value = Literal[0, 1]
_RAW_CHARS = 1000
_NUMBERS: dict[str, Value] = {"0": 0, "1": 1}


class Reservation(NamedTuple):
    """Answer for one URL: 1 reserved, 0 not reserved, None unset; with the rule's own words."""

    value: Value | None
    raw: str = ""
    policy: str | None = None
    nonconformant: bool = False


@dataclass(frozen=True, slots=True)
class _Rule:
    pattern: Pattern
    reservation: Reservation


@dataclass(frozen=True, slots=True)
class Tdmrep:
    """The rules of one `/.well-known/tdmrep.json`, and notes on what in it could not be honoured."""

    rules: tuple[_Rule, ...]
    notes: tuple[str, ...] = ()

    def reservation(self, url: str | bytes) -> Reservation:
        """Return the first matching rule's reservation: "the most specific match is the first in sequence"."""
        target = target_octets(url)
        unreadable: Reservation | None = None
        for rule in self.rules:
            if not rule.pattern.matches(target):
                continue
            if rule.reservation.value is None:
                unreadable = unreadable or rule.reservation
            elif rule.reservation.value == 1 or unreadable is None:
                return rule.reservation
            else:  # a 0 behind an unreadable rule that matched before it is no leave
                return unreadable
        return unreadable or Reservation(None)


def _file_value(value: object) -> tuple[Value | None, bool]:
    """Read a rule's value as (reservation, nonconformant): only JSON's numbers 0 and 1 conform; true is neither."""
    if isinstance(value, int | float) and not isinstance(value, bool) and value in (0, 1):
        return (1 if value == 1 else 0), False
    if isinstance(value, str) and value.strip() == "1":
        return 1, True
    return None, True


def _rule(entry: object) -> _Rule | str:
    """Compile one entry, or say why it is skipped."""
    if not isinstance(entry, dict):
        return "rule_not_object"
    location = entry.get("location")
    if not isinstance(location, str) or not location.strip():
        return "location_missing"
    if "tdm-reservation" not in entry:
        return "reservation_missing"
    value, nonconformant = _file_value(entry["tdm-reservation"])
    location = location.strip()
    if not location.startswith(("/", "*")):
        location, nonconformant = "/" + location, True
        value = value or None
    policy = entry.get("tdm-policy")
    raw = json.dumps(entry, ensure_ascii=False)[:_RAW_CHARS]
    reservation = Reservation(value, raw, policy if value == 1 and isinstance(policy, str) else None, nonconformant)
    return _Rule(compile_pattern(location.encode("utf-8", "surrogatepass")), reservation)


def parse_file(body: bytes) -> Tdmrep | None:
    """Parse `/.well-known/tdmrep.json`; None where it is not JSON, no rules where it is not an array (both unset)."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if isinstance(document, dict):
        return Tdmrep((), ("single_object",))  # seen in practice; the report makes the brackets mandatory
    if not isinstance(document, list):
        return Tdmrep((), ("not_an_array",))
    rules: list[_Rule] = []
    notes: list[str] = []
    for entry in document:
        rule = _rule(entry)
        if isinstance(rule, str):
            notes.append(rule)
            continue
        rules.append(rule)
        if rule.reservation.nonconformant:
            notes.append("nonconformant")
    return Tdmrep(tuple(rules), tuple(dict.fromkeys(notes)))


def header_value(value: str | None) -> Value | None:
    """Read a `tdm-reservation` header or meta content; any other value is a protocol error, hence unset.

    A field that came several times, joined with commas, reserves when one of its values does and all are valid.
    """
    if value is None:
        return None
    parts = [_NUMBERS.get(part.strip()) for part in value.split(",")]
    known = [part for part in parts if part is not None]
    return max(known) if len(known) == len(parts) else None


def resolve(file: Value | None, header: Value | None, meta: Value | None) -> Value | None:
    """Let the later statement supersede the earlier; absence at a later step resets nothing (TDMRep §"Precedence")."""
    return next((value for value in (meta, header, file) if value is not None), None)
